import type { TaskLog } from '../../core/provider.ts'
import { codeOf, isTlsFailure } from '../../postgres/refusal.ts'

export { codeOf } from '../../postgres/refusal.ts'

/** A failure of the server that passes, or that its operator has to end; never the user's fault. */
export interface Fault {
  /** For the user: no host, no name, no statement. */
  readonly description: string
  /** Whether another try within moments is worth it. */
  readonly retry: boolean
  /** Whether somebody has to do something about it. */
  readonly alarm: boolean
}

/** The server is not what this provider needs: its version, or the admin's rights. */
export class ServerUnfit extends Error {
  override readonly name = 'ServerUnfit'
}

const unreachable = fault('The database server cannot be reached at the moment.')
const raced = fault('The database server is busy with concurrent changes.')
const full = fault('The database server or the database has no free connection.')
const locked = fault('An open transaction holds a lock on the database.', { retry: false })
const exhausted = fault('The database server is out of disk space or memory.', { retry: false, alarm: true })
const refused = fault('The broker cannot log in to the database server. Its operator has to look into it.', {
  retry: false,
  alarm: true
})
const forbidden = fault('The broker lacks a right on the database server. Its operator has to look into it.', {
  retry: false,
  alarm: true
})
const slow = fault('The database server took too long.', { retry: false })

/** Classes stand as their first two characters, after the codes. */
const faults = new Map<string, Fault>([
  ...entries(
    unreachable,
    'ECONNREFUSED ECONNRESET EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOTFOUND EAI_AGAIN ENOENT 25006 57P01 57P02 57P03 08'
  ),
  // 42704, 2BP01 and 3D000: another task dropped or granted something between our look and our statement;
  // 55000: the database of another instance, in which ours has rights, is being removed
  ...entries(raced, 'XX000 40001 40P01 42710 42704 2BP01 3D000 23505 42P04 55000 55006'),
  ...entries(full, '53300'),
  ...entries(locked, '55P03'),
  ...entries(exhausted, '53'),
  // 22023: the group that the admin is to act as does not exist
  ...entries(refused, '28 22023'),
  ...entries(forbidden, '42501'),
  ...entries(slow, '57014')
])

/** pg reports a lost or late connection without a code. */
const CONNECTION_LOST = /^(Connection terminated|timeout exceeded when|timeout expired|Client has encountered a conn)/

/** What kind of failure of the server an error is; undefined for any other. */
export function faultOf(error: unknown): Fault | undefined {
  if (error instanceof ServerUnfit) return fault(error.message, { retry: false, alarm: true })
  if (!(error instanceof Error)) return undefined
  if (isTlsFailure(error)) return refused
  const code = codeOf(error)
  if (code === undefined) return CONNECTION_LOST.test(error.message) ? unreachable : undefined
  return faults.get(code) ?? faults.get(code.slice(0, 2))
}

/** One line for each failed try; what somebody must act on is an error. */
export function logFault(log: TaskLog, fault: Fault, error: unknown): void {
  // not the error itself: pg's carries row contents and statement positions that nobody needs
  const fields = { code: codeOf(error), reason: error instanceof Error ? error.message : undefined }
  if (fault.alarm) log.error(fields, fault.description)
  else log.warn(fields, fault.description)
}

function fault(description: string, { retry = true, alarm = false } = {}): Fault {
  return { description, retry, alarm }
}

function entries(fault: Fault, codes: string): [string, Fault][] {
  return codes.split(' ').map((code) => [code, fault])
}
