import { setTimeout as delay } from 'node:timers/promises'
import { type Task, Unavailable } from '../../core/provider.ts'
import { UPKEEP_NAME } from './blockers.ts'
import { type Fault, faultOf, lastingFault, logFault } from './faults.ts'
import { type AdminServer, OF_ADMIN } from './server.ts'
import { type Session, unlessAborted, type Work } from './session.ts'

/** What a task does on the server, from its beginning; every statement of it can be repeated. */
export interface Attempt<T> {
  /** What it is about: an instance, or with the suffix a binding of it. */
  readonly subject: () => { readonly token: string; readonly suffix?: string }
  /** Keeps the state; refused once another worker has taken the operation over. */
  readonly save: () => Promise<void>
  /** A removal of the instance ends the work on its bindings too. */
  readonly endsBindings?: boolean
  /**
   * Revokes the logins that the task removes. Runs first while all maintenance connections are busy, because a revocation must
   * not wait for them; `run` revokes in any case.
   */
  readonly revoke?: (maintenance: Session) => Promise<unknown>
  readonly run: (maintenance: Session) => Promise<T>
}

/** Tries in all, whatever the faults are. */
const TRIES = 8
const NAME_TRIES = 4
const FIRST_PAUSE_MS = 100
const LONGEST_PAUSE_MS = 1_000

/** The names that an instance of the database was to have belong to somebody else. */
export class NamesTaken extends Error {
  override readonly name = 'NamesTaken'
}

/**
 * Runs an attempt, and retries it from the start after a passing fault of the server. A synchronous operation has seconds, so
 * the tries are few; the framework repeats the operation when they have failed.
 * @throws {Unavailable} when the fault stays
 */
export async function attempt<T>(server: AdminServer, task: Task, work: Attempt<T>): Promise<T> {
  const met = new Map<Fault, number>()
  let last: Fault | undefined
  for (let tries = 1; ; tries++) {
    try {
      return await runOnce(server, task, work)
    } catch (error) {
      // The connection that an abort cut says so too; only the abort matters then
      throwIfAborted(task.signal, last)
      if (!(error instanceof NamesTaken)) {
        const fault = faultOf(error)
        if (fault === undefined) throw error
        const times = (met.get(fault) ?? 0) + 1
        met.set(fault, times)
        const final = times >= fault.tries || tries === TRIES
        last = final ? lastingFault(fault) : fault
        logFault(task.log, last, error)
        if (final) throw new Unavailable(last.description, { cause: error })
      } else if (tries >= NAME_TRIES) throw error
    }
    await pause(tries, task.signal)
    throwIfAborted(task.signal, last)
  }
}

/** When the time is up, what kept the work from its end says more to the user than that. */
function throwIfAborted(signal: AbortSignal, last: Fault | undefined): void {
  if (signal.aborted && last !== undefined) throw new Unavailable(last.description, { cause: signal.reason })
  signal.throwIfAborted()
}

async function runOnce<T>(server: AdminServer, task: Task, { subject, save, endsBindings, revoke, run }: Attempt<T>) {
  await unlessAborted(server.ready(), task.signal)
  const { token, suffix } = subject()
  const applicationName = suffix === undefined ? `osb:${token}` : `osb:${token}_${suffix}`
  const work: Work = {
    applicationName,
    signal: task.signal,
    log: task.log,
    ...(endsBindings === true ? {} : { spares: token })
  }
  if (revoke !== undefined && server.isBusy) await revokeAhead(server, work, { token, revoke })
  const maintenance = await server.openMaintenance(work)
  try {
    // In this order: the session can be seen by later attempts before we learn that we are the latest. A worker that
    // froze anywhere is then either refused here, or has its session ended by the one that took over.
    await save()
    await endOlderSessions(maintenance, endsBindings ?? false)
    await keepUpkeepOut(maintenance, token)
    return await run(maintenance)
  } finally {
    await maintenance.close()
  }
}

/** If it fails, the task itself has to revoke. No later task gives back what this takes, so a frozen worker may come late. */
async function revokeAhead(
  server: AdminServer,
  work: Work,
  { token, revoke }: { token: string; revoke: (maintenance: Session) => Promise<unknown> }
): Promise<void> {
  try {
    const maintenance = await server.openReserve(work)
    try {
      await keepUpkeepOut(maintenance, token)
      await revoke(maintenance)
    } finally {
      await maintenance.close()
    }
  } catch (error) {
    work.signal.throwIfAborted()
    if (faultOf(error) === undefined) throw error
    work.log.debug({ reason: String(error) }, 'The logins could not be revoked ahead of the task.')
  }
}

/** Takes the lock that keeps upkeep from the instance. Ends upkeep that takes too long. */
async function keepUpkeepOut(maintenance: Session, token: string): Promise<void> {
  const key = [lockName(token)]
  const [lock] = await maintenance.query<{ free: boolean }>(
    'SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0)) AS free',
    key
  )
  if (lock?.free === true) return
  // While it waits, the session ends the maintenance session of the upkeep
  await maintenance.query('SELECT pg_advisory_lock_shared(hashtextextended($1, 0))', key)
  await maintenance.query(
    `SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
     WHERE application_name = $1 AND starts_with(datname, $2) AND ${OF_ADMIN}`,
    [UPKEEP_NAME, `osb_d_${token}`]
  )
}

/**
 * Names the lock that tasks on an instance share, and that upkeep of the instance takes alone, because the upkeep must not give
 * back what an unbind takes away. The lock ends with its session.
 */
export function lockName(token: string): string {
  return `osb:${token}`
}

const ROUNDS = 10

async function endOlderSessions(maintenance: Session, bindingsToo: boolean): Promise<void> {
  const name = maintenance.work.applicationName
  for (let round = 0; round < ROUNDS; round++) {
    const ended = await maintenance.query(
      `SELECT pid, pg_terminate_backend(pid, 2000) FROM pg_stat_activity
       WHERE (application_name = $1 OR ($2 AND starts_with(application_name, $1 || '_')))
         AND ${OF_ADMIN} AND pid <> pg_backend_pid()`,
      [name, bindingsToo]
    )
    if (ended.length === 0) return
    maintenance.work.log.warn({ sessions: ended.length }, 'Ended the sessions of an earlier attempt.')
  }
  throw Object.assign(new Error('Sessions of an earlier attempt do not end.'), { code: '55006' })
}

/** Jitter, because tasks that raced each other would do so again. */
async function pause(tries: number, signal: AbortSignal): Promise<void> {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** tries, LONGEST_PAUSE_MS)
  try {
    await delay(longest * (0.5 + Math.random() / 2), undefined, { signal })
  } catch (error) {
    if (!signal.aborted) throw error
  }
}
