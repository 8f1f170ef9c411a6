import { codeOf, detailOf, faultOf, isCatalogRace } from './faults.ts'
import type { Place } from './instances.ts'
import { reassign } from './ownership.ts'
import { quoteIdentifier } from './quoting.ts'
import { failureOf, leaveGroups } from './revocation.ts'
import { joinOwnersIn, joinRole, roleIds } from './roles.ts'
import type { Session } from './session.ts'
import { endSessionsOf } from './sessions.ts'
import { inDatabase } from './tenant.ts'

/** Why a role could not be dropped. */
export interface Obstacle {
  readonly reason: string
  /** PostgreSQL's list of what depends on the role. */
  readonly detail: string | undefined
  /** Whether it goes away without an operator: with the removal or the opening of a database. */
  readonly passes: boolean
}

/**
 * Drops a role with everything that it owns or was granted. A role that cannot be dropped stays without rights, for
 * `dropLeftRoles` to drop it later: what a stranger has granted to it must not fail the removal.
 */
export async function removeRole(place: Place, role: string): Promise<void> {
  const obstacle = await dropRole(place, role)
  if (obstacle === undefined) return
  const { reason, detail, passes } = obstacle
  const { log } = place.maintenance.work
  if (passes)
    return log.warn({ role, reason, detail }, 'A removed role stays, without rights, until it can be dropped.')
  log.error(
    { role, reason, detail },
    'A removed role stays, without rights. Revoke what the detail lists, and the broker drops the role.'
  )
}

/** Dependent objects still exist; insufficient privilege. */
const UNDROPPABLE = new Set(['2BP01', '42501'])
const DROP_TRIES = 2

/**
 * Takes away everything that a role owns or was granted, in every database, and drops it. Objects in the instance's own
 * database go to the owner.
 * @returns undefined when the role is gone
 */
export async function dropRole(place: Place, role: string): Promise<Obstacle | undefined> {
  const { maintenance, names } = place
  const ids = await roleIds(maintenance, [role])
  const [oid] = ids
  if (oid === undefined) return undefined
  for (let tries = 1; ; tries++) {
    const closed = await clear(place, { role, oid })
    try {
      await maintenance.query(`DROP ROLE IF EXISTS ${quoteIdentifier(role)}`)
      break
    } catch (error) {
      const code = codeOf(error) ?? ''
      if (!UNDROPPABLE.has(code)) throw error
      // Another tenant may grant something at the same moment
      if (code === '2BP01' && !closed && tries < DROP_TRIES) continue
      await strip(maintenance, role)
      await endSessionsOf(maintenance, ids, names.database)
      const reason = error instanceof Error ? error.message : String(error)
      return { reason, detail: detailOf(error), passes: closed }
    }
  }
  // A session survives its role, and may have been on its way in when the others were ended
  await endSessionsOf(maintenance, ids, names.database)
  return undefined
}

/** Takes from a role that stays what can be taken, and marks it. */
async function strip(maintenance: Session, role: string): Promise<void> {
  await leaveGroups(maintenance, role)
  for (const change of [`VALID UNTIL '-infinity'`, 'RESET ALL']) {
    const statement = `ALTER ROLE ${quoteIdentifier(role)} ${change}`
    const failure = await failureOf(maintenance, () => maintenance.query(statement))
    if (failure !== undefined) maintenance.work.log.warn({ role, reason: String(failure) }, 'A role was not marked.')
  }
}

/** What depends on a role in one database; without a database: on the objects that all share. */
interface Dependencies {
  readonly database: string | null
  readonly open: boolean
  readonly count: number
}

/** Rounds without progress after which the rest is left. */
const IDLE_ROUNDS = 2

/** How long a removal works in databases of other instances, in milliseconds: their tenants may have granted in many. */
const FOREIGN_MS = 4_000

/** Clears all databases that can be entered. Answers whether only others are left, or those that the time did not suffice for. */
async function clear(place: Place, { role, oid }: { role: string; oid: string }): Promise<boolean> {
  const { maintenance, names } = place
  const began = performance.now()
  const given = new Set<string | null>()
  const postponed = new Set<string | null>()
  let least = Number.POSITIVE_INFINITY
  let idle = 0
  for (;;) {
    const all = await dependenciesOf(maintenance, oid)
    const left = all.filter(({ database, open }) => open && !given.has(database))
    const count = left.reduce((sum, each) => sum + each.count, 0)
    idle = count < least ? 0 : idle + 1
    least = Math.min(least, count)
    if (count === 0 || idle === IDLE_ROUNDS) {
      return all.length > 0 && all.every(({ database, open }) => !open || postponed.has(database))
    }
    await joinRole(maintenance, role)
    for (const { database } of left) {
      const foreign = database !== null && database !== names.database
      if (foreign && performance.now() - began > FOREIGN_MS) postponed.add(database)
      if (postponed.has(database) || !(await clearOne(place, { role, database }))) given.add(database)
    }
  }
}

async function dependenciesOf(maintenance: Session, oid: string): Promise<Dependencies[]> {
  return await maintenance.query<Dependencies & Record<string, unknown>>(
    `SELECT d.datname::text AS database, count(*)::int AS count,
            s.dbid = 0 OR coalesce(d.datallowconn AND d.datconnlimit <> -2, false) AS open
     FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
     WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = $1::oid
     GROUP BY d.datname, s.dbid, d.datallowconn, d.datconnlimit`,
    [oid]
  )
}

/** Answers whether it is worth another try. Throws what fails in the instance's own database, whose objects must not be lost. */
async function clearOne(place: Place, { role, database }: { role: string; database: string | null }): Promise<boolean> {
  const { maintenance, names } = place
  try {
    if (database === null) await maintenance.query(`DROP OWNED BY ${quoteIdentifier(role)}`)
    else if (database === names.database) await clearOwn(place, role)
    else await clearForeign(place, { role, database })
    return true
  } catch (error) {
    maintenance.work.signal.throwIfAborted()
    const code = codeOf(error)
    // The database was dropped after the look
    if (code === '3D000') return true
    const fault = faultOf(error)
    if (fault === undefined || LOST.test(code ?? '57P01')) throw error
    if ((database === null || database === names.database) && code !== '42501') throw error
    maintenance.work.log.warn(
      { role, database, reason: String(error) },
      'The rights of a removed role were not cleared.'
    )
    return isCatalogRace(error)
  }
}

/** The server is away: nothing can be said of the role. */
const LOST = /^(?:E[A-Z]+|57P.*|08.*)$/

async function clearOwn({ server, maintenance, names }: Place, role: string): Promise<void> {
  await joinOwnersIn(maintenance, names.database)
  const run = async (tenant: Session) => {
    await reassign(tenant, role, names)
    await tenant.query(`DROP OWNED BY ${quoteIdentifier(role)}`)
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}

/** Its tenant may have granted any number of objects to the role, and keep them locked: then the rest is left for later. */
const FOREIGN_LIMITS = `SET lock_timeout = '2s'; SET statement_timeout = '3s'`

async function clearForeign(
  { server, maintenance }: Place,
  { role, database }: { role: string; database: string }
): Promise<void> {
  await joinOwnersIn(maintenance, database)
  const run = async (tenant: Session) => {
    await tenant.query(FOREIGN_LIMITS)
    await tenant.query(`DROP OWNED BY ${quoteIdentifier(role)}`)
  }
  await inDatabase(server, maintenance, { database, run })
}
