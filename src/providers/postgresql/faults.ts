import type { TaskLog } from '../../core/provider.ts'
import { codeOf, isLoginFailure, isTlsFailure } from '../../postgres/refusal.ts'

export { codeOf } from '../../postgres/refusal.ts'

/** A failure of the server that passes, or that its operator has to end; never the user's fault. */
export interface Fault {
  /** For the user: no host, no name, no statement. */
  readonly description: string
  /** How often an operation meets the fault before it gives up, within seconds; 1: retrying is useless. */
  readonly tries: number
  /** Whether somebody has to do something about it. */
  readonly alarm: boolean
  /** What the fault is when it repeats that often. Default: the same. */
  readonly lasting?: Fault
}

/** The server is not what this provider needs: its version, or the admin's rights. */
export class ServerUnfit extends Error {
  override readonly name = 'ServerUnfit'
}

const TRIES = 4
/** A race with another task passes at the second try, the third at the latest. */
const RACE_TRIES = 3
/** A server that is about to be replaced by its standby. */
const STANDBY_TRIES = 2
/** A tenant that fills the lock table is ended within seconds. */
const FLOOD_TRIES = 7

const unreachable = fault('The database server cannot be reached at the moment.')
const raced = fault('The database server is busy with concurrent changes.')
const full = fault('The database server or the database has no free connection.')
const locked = fault('An open transaction holds a lock on the database.', { tries: 1 })
const slow = fault('The database server took too long.', { tries: 1 })
const exhausted = alarm('The database server is out of disk space or memory.')
const refused = alarm('The broker cannot log in to the database server. Its operator has to look into it.')
const untrusted = alarm('The broker has no secure connection to the database server. Its operator has to look into it.')
const forbidden = alarm('The broker lacks a right on the database server. Its operator has to look into it.')
const readOnly = alarm('The database server is a standby and takes no changes. Its operator has to look into it.')
const broken = alarm('The database server reports an internal error. Its operator has to look into it.')
const rejecting = alarm('The database server rejects a change of the broker. Its operator has to look into it.')
/** Another task created, dropped or granted something between a look and the statement after it, unless it repeats. */
const overtaken: Fault = { ...raced, tries: RACE_TRIES, lasting: rejecting }
const flooded: Fault = { ...fault(exhausted.description), tries: FLOOD_TRIES, lasting: exhausted }
const switching: Fault = { ...fault(unreachable.description), tries: STANDBY_TRIES, lasting: readOnly }

/** Classes stand as their first two characters, after the codes. */
const faults = new Map<string, Fault>([
  ...entries(
    unreachable,
    'ECONNREFUSED ECONNRESET EPIPE ETIMEDOUT EHOSTUNREACH ENETUNREACH ENOTFOUND EAI_AGAIN ENOENT 57P01 57P02 57P03 57P05 08'
  ),
  ...entries(switching, '25006'),
  ...entries(raced, '40001 40P01 42710 23505 42P04 55006'),
  // 42P01: a tenant dropped a table; 55000: a database that is being removed, or was closed; 57P04: a database that was dropped
  ...entries(overtaken, '2BP01 3D000 42704 42P01 55000 57P04'),
  ...entries(full, '53300'),
  ...entries(locked, '55P03'),
  ...entries(flooded, '53200'),
  ...entries(exhausted, '53'),
  // 22023: the group that the admin is to act as does not exist
  ...entries(refused, '28 22023'),
  ...entries(forbidden, '42501'),
  ...entries(slow, '57014'),
  // 08P01: also every error of PgBouncer
  ...entries(broken, '08P01 58 F0 XX')
])

/** pg reports a lost or late connection without a code. */
const CONNECTION_LOST = /^(Connection terminated|timeout exceeded when|timeout expired|Client has encountered a conn)/
/** PostgreSQL reports races on a catalog as internal errors, with these messages in every language. */
const CATALOG_RACE =
  /^(tuple (concurrently|already) |cache lookup failed |could not find tuple |could not open relation with OID )/

/** What kind of failure of the server an error is; undefined for any other. */
export function faultOf(error: unknown): Fault | undefined {
  if (error instanceof ServerUnfit) return alarm(error.message)
  if (!(error instanceof Error)) return undefined
  if (isTlsFailure(error)) return untrusted
  const code = codeOf(error)
  if (code === undefined) {
    if (CONNECTION_LOST.test(error.message)) return unreachable
    return isLoginFailure(error) ? refused : undefined
  }
  if (code === 'XX000' && CATALOG_RACE.test(error.message)) return raced
  if (code === '08P01' && isLoginFailure(error)) return refused
  return faults.get(code) ?? faults.get(code.slice(0, 2))
}

/** Whether another session changed the same row of a catalog, so that the statement can be repeated at once. */
export function isCatalogRace(error: unknown): boolean {
  return error instanceof Error && codeOf(error) === 'XX000' && CATALOG_RACE.test(error.message)
}

/** What the fault is once it has repeated, or cannot be retried. */
export function lastingFault(fault: Fault): Fault {
  return fault.lasting ?? fault
}

const DETAIL_CHARACTERS = 2_000

/** One line for each failed try; what somebody must act on is an error, with what PostgreSQL adds to its message. */
export function logFault(log: TaskLog, fault: Fault, error: unknown): void {
  // not the error itself: pg's carries row contents and statement positions that nobody needs
  const fields = { code: codeOf(error), reason: error instanceof Error ? error.message : undefined }
  if (!fault.alarm) {
    log.warn(fields, fault.description)
    return
  }
  const detail = detailOf(error)
  log.error(detail === undefined ? fields : { ...fields, detail }, fault.description)
}

/** PostgreSQL's DETAIL, such as the objects on which a role depends. Undefined where it may have the content of a row. */
export function detailOf(error: unknown): string | undefined {
  const holdsRow = /^2[23]/.test(codeOf(error) ?? '')
  if (holdsRow || !(error instanceof Error && 'detail' in error && typeof error.detail === 'string')) return undefined
  return error.detail.slice(0, DETAIL_CHARACTERS)
}

function fault(description: string, { tries = TRIES, alarm = false } = {}): Fault {
  return { description, tries, alarm }
}

function alarm(description: string): Fault {
  return fault(description, { tries: 1, alarm: true })
}

function entries(fault: Fault, codes: string): [string, Fault][] {
  return codes.split(' ').map((code) => [code, fault])
}
