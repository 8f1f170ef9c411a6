import type { Place } from '../instances.ts'
import type { InstanceNames } from '../names.ts'
import { heal, loginsWithObjects } from '../ownership.ts'
import { quoteIdentifier } from '../quoting.ts'
import { swapToOwner, swapToReader } from '../rights.ts'
import { endSessions } from '../roles.ts'
import type { Session } from '../session.ts'
import { inDatabase } from '../tenant.ts'
import { announce, withdraw } from './announcement.ts'
import { reopen } from './closing.ts'
import { resolutely } from './resolutely.ts'
import { grantDelete, revokeDelete } from './table-rights.ts'

/*
 * An instance whose storage is used up is locked: its bindings read, and delete, until there is room again. The connection
 * limit of the owner's role marks it: -1 when it is not locked, otherwise how many MB the database had at the time. Nobody
 * logs in as the owner, so the limit limits nothing, and no tenant can change it.
 *
 * `default_transaction_read_only` would not do: every session may turn it off.
 */

const MB = 1024 ** 2

/** Whether the instance is locked. */
export async function isLocked(maintenance: Session, { owner }: InstanceNames): Promise<boolean> {
  const rows = await maintenance.query('SELECT FROM pg_roles WHERE rolname = $1 AND rolconnlimit >= 0', [owner])
  return rows.length > 0
}

/**
 * Locks an instance, or continues to.
 * @param logins those of the owner's bindings
 * @param bytes current size of the database
 */
export async function lock(place: Place, logins: readonly string[], bytes: number): Promise<void> {
  const { maintenance, names } = place
  await resolutely(place, [
    // First, so that a binding that is made now is made locked
    async () => {
      if (!(await isLocked(maintenance, names))) await mark(place, Math.ceil(bytes / MB))
    },
    () => withhold(place, logins),
    () => announce(place)
  ])
}

/** Lifts the lock. Sessions end; the next ones begin as the owner. */
export async function lift(place: Place, logins: readonly string[]): Promise<void> {
  const { maintenance } = place
  await resolutely(place, [() => reopen(place), () => revokeDelete(place, logins)])
  for (const login of logins) {
    await swapToOwner(place, login)
    await endSessions(maintenance, login)
  }
  await withdraw(place)
  await mark(place, -1)
}

/** Keeps logins of the owner's from writing what is theirs, and lets them delete. */
export async function withhold(place: Place, logins: readonly string[]): Promise<void> {
  const { server, maintenance, names } = place
  const handOver = async () => {
    const strays = await loginsWithObjects(maintenance, names)
    const run = (tenant: Session) => heal(tenant, names, strays)
    if (strays.length > 0) await inDatabase(server, maintenance, { database: names.database, run })
  }
  await resolutely(place, [
    ...logins.flatMap((login) => [
      () => swapToReader(place, login),
      // A session that acts as the owner already would continue to
      () => endSessions(maintenance, login)
    ]),
    handOver,
    () => grantDelete(place, logins)
  ])
}

async function mark({ maintenance, names }: Place, limit: number): Promise<void> {
  await maintenance.query(`ALTER ROLE ${quoteIdentifier(names.owner)} CONNECTION LIMIT ${limit.toFixed(0)}`)
}
