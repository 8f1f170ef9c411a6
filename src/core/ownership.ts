import type { Call } from './call.ts'
import type { BindingRecord, InstanceRecord } from './store.ts'

/** The record, if it belongs to the platform of the call. To any other platform it does not exist. */
export function ownedBy<Record extends Pick<InstanceRecord, 'platform'>>(
  call: Pick<Call, 'platform'>,
  record: Record | undefined
): Record | undefined {
  return record?.platform === call.platform ? record : undefined
}

/**
 * Refuses to use a record for another platform than its own. An instance, its bindings and their operations always name the
 * same platform, unless somebody has changed the database.
 * @throws {Error} that names the record; the platform is not told
 */
export function requireOwn(
  { platform, instanceId, bindingId }: Pick<InstanceRecord, 'platform' | 'instanceId'> & Partial<BindingRecord>,
  owner: string
): void {
  if (platform === owner) return
  const record = bindingId === undefined ? '' : `binding "${bindingId}" of `
  throw new Error(
    `The ${record}instance "${instanceId}" belongs to the platform "${platform}", but was to be used for "${owner}": ` +
      'the platform of a row was changed in the database.'
  )
}
