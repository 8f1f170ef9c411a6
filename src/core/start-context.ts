import type { TaskLog } from './provider.ts'

/**
 * What the broker passes to the `start` of a provider, for background work that belongs to no task. It is valid until `stop`.
 * A caller that wants no background work, such as a command-line tool, passes none.
 */
export interface StartContext {
  readonly log: TaskLog
  /**
   * Adds an event with the action `guard` to the audit of an instance, if the store keeps an audit: the provider acted
   * against a tenant to protect others. The audit keeps the description as it is, so it must not contain a secret.
   * @throws {Unavailable} when the store cannot be reached
   */
  audit(instanceId: string, description: string): Promise<void>
}
