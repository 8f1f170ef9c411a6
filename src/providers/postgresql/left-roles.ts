import type { Upkeep } from '../../core/provider.ts'
import { alone } from './alone.ts'
import { faultOf } from './faults.ts'
import { instanceNames, NAME_PATTERNS } from './names.ts'
import { dropRole } from './role-removal.ts'
import type { AdminServer } from './server.ts'
import type { Session } from './session.ts'

/** Roles that one call looks at, in random order, so that those that must stay do not keep others from their turn. */
const BATCH = 50
/** When no further role is tried, in milliseconds: the next round of the watch, which enforces quotas, waits for this one. */
const ROUND_MS = 20_000

/**
 * Drops the roles of finished removals that could not be dropped then: a database was closed, or somebody had granted them
 * something. A role that still cannot be dropped stays. Does nothing about instances that a task works on.
 * @param ms when no further role is tried
 */
export async function dropLeftRoles(
  server: AdminServer,
  { log, signal }: Pick<Upkeep, 'log' | 'signal'>,
  ms = ROUND_MS
): Promise<void> {
  // The removal has raised the alarm; a role that stays for good would repeat it every minute
  const debug = (fields: object, message?: string) => log.debug(fields, message)
  const upkeep = { signal, log: { debug, info: debug, warn: debug, error: debug } }
  const guarded = async (work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      signal.throwIfAborted()
      if (faultOf(error) === undefined) throw error
      log.warn({ server: server.name, reason: String(error) }, 'Roles of finished removals could not be dropped.')
    }
  }
  const until = performance.now() + ms
  await guarded(async () => {
    await server.ready()
    const rows = await server.read<{ role: string; token: string }>(
      `SELECT rolname::text AS role, substr(rolname, 7, 20) AS token FROM pg_roles
       WHERE rolvaliduntil = '-infinity' AND rolname ~ $1 ORDER BY random() LIMIT ${BATCH}`,
      [NAME_PATTERNS.role]
    )
    for (const [token, left] of Map.groupBy(rows, (row) => row.token)) {
      const roles = left.map(({ role }) => role)
      if (performance.now() >= until) break
      const run = async (maintenance: Session) => {
        for (const role of await dropThem(server, maintenance, { token, roles, until })) {
          log.info({ role }, 'Dropped a role that an earlier removal had left.')
        }
      }
      await guarded(() => alone(server, upkeep, { token, run }))
    }
  })
}

/** Answers which are gone. */
async function dropThem(
  server: AdminServer,
  maintenance: Session,
  { token, roles, until }: { token: string; roles: readonly string[]; until: number }
): Promise<string[]> {
  const dropped: string[] = []
  const names = await namesOf(maintenance, token)
  for (const role of roles) {
    if (performance.now() >= until) break
    // The owner and the reader of a database that is still there belong to a removal that did not end
    if (names.exists && !role.startsWith(names.loginPrefix)) continue
    const obstacle = await dropRole({ server, maintenance, names }, role)
    if (obstacle === undefined) dropped.push(role)
  }
  return dropped
}

/** The names of an instance, of which only the token is known. */
async function namesOf(maintenance: Session, token: string) {
  const plain = instanceNames({ token })
  const [row] = await maintenance.query<{ database: string }>(
    'SELECT datname::text AS database FROM pg_database WHERE datname = $1 OR starts_with(datname, $2)',
    [plain.database, `${plain.database}_`]
  )
  return row === undefined ? { ...plain, exists: false } : { ...plain, database: row.database, exists: true }
}
