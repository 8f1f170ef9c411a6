import type { Upkeep } from '../../core/provider.ts'
import { lockName } from './attempt.ts'
import type { AdminServer } from './server.ts'
import { type Session, unlessAborted } from './session.ts'

/** `application_name` of upkeep. */
export const UPKEEP_NAME = 'osb:upkeep'

/** Does something with an instance that no task works on, and keeps tasks from it meanwhile; nothing while one does. */
export async function alone<T>(
  server: AdminServer,
  { log, signal }: Pick<Upkeep, 'log' | 'signal'>,
  { token, run }: { token: string; run: (maintenance: Session) => Promise<T> }
): Promise<T | undefined> {
  await unlessAborted(server.ready(), signal)
  const maintenance = await server.openMaintenance({ applicationName: UPKEEP_NAME, signal, log })
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
