import type { Tables } from './schema.ts'

/**
 * Text of the advisory lock that every insert of an instance id takes. A batch only tries to take it, so that the insert of
 * one id that hangs elsewhere does not delay the other ids of the batch.
 */
export function idLock({ schema }: Tables, instanceId: string): string {
  return `${idLockPrefix({ schema })}${instanceId}`
}

/** The text before the id. */
export function idLockPrefix({ schema }: Pick<Tables, 'schema'>): string {
  return `${schema}:instance:`
}
