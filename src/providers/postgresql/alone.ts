import type { Upkeep } from '../../core/provider.ts'
import { lockName } from './attempt.ts'
import { UPKEEP_NAME } from './blockers.ts'
import type { AdminServer } from './server.ts'
import { type Session, unlessAborted } from './session.ts'

/**
 * Runs work on an instance while no task works on the instance, and keeps tasks from it meanwhile. Does nothing while a task
 * does. A task that waits for longer than about a second ends the session, so that the work fails as passing.
 */
export async function alone<T>(
  server: AdminServer,
  { log, signal }: Pick<Upkeep, 'log' | 'signal'>,
  { token, run }: { token: string; run: (maintenance: Session) => Promise<T> }
): Promise<T | undefined> {
  await unlessAborted(server.ready(), signal)
  const maintenance = await server.openMaintenance({ applicationName: UPKEEP_NAME, signal, log, spares: token })
  try {
    const [lock] = await maintenance.query<{ free: boolean }>(
      'SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS free',
      [lockName(token)]
    )
    return lock?.free === true ? await run(maintenance) : undefined
  } finally {
    // The lock ends with the session's use
    await maintenance.close()
  }
}
