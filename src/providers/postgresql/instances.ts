import { Rejected } from '../../core/provider.ts'
import { NamesTaken } from './attempt.ts'
import { installExtensions } from './extensions.ts'
import { closeLargeObjects } from './large-objects.ts'
import type { InstanceNames } from './names.ts'
import type { PlanOptions } from './plan-options.ts'
import { quoteIdentifier, quoteLiteral } from './quoting.ts'
import { createRoles, joinRole } from './roles.ts'
import type { AdminServer } from './server.ts'
import type { Session } from './session.ts'
import { inDatabase, setConnectionLimit } from './tenant.ts'

/** The database that a task is about, and the connections to the server it is on. */
export interface Place {
  readonly server: AdminServer
  readonly maintenance: Session
  readonly names: InstanceNames
}

/** Makes the roles and the database. Nobody can connect before everything is closed to PUBLIC. */
export async function createInstance(
  { server, maintenance, names }: Place,
  options: PlanOptions,
  extensions: readonly string[]
): Promise<void> {
  const database = quoteIdentifier(names.database)
  const owner = quoteIdentifier(names.owner)
  const reader = quoteIdentifier(names.reader)
  await refuseTaken(maintenance, names)
  await createRoles(maintenance, [names.owner, names.reader])
  await maintenance.query(`ALTER ROLE ${owner} NOLOGIN`)
  await maintenance.query(`ALTER ROLE ${reader} NOLOGIN`)
  await joinRole(maintenance, names.owner)
  await maintenance.generate(
    `SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' ALLOW_CONNECTIONS false CONNECTION LIMIT %s',
                   $1::text, current_user, $2::int)
     WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = $1)`,
    [names.database, options.database_connection_limit]
  )
  await maintenance.query(`REVOKE ALL ON DATABASE ${database} FROM PUBLIC`)
  await maintenance.query(`GRANT CONNECT, TEMPORARY, CREATE ON DATABASE ${database} TO ${owner}`)
  await maintenance.query(`GRANT CONNECT ON DATABASE ${database} TO ${reader}`)
  await applyPlan(maintenance, names, options)
  await maintenance.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS true`)
  const run = async (tenant: Session) => {
    // A session that got one of the reserved connections was asked for its roles before it had a database, and keeps
    // the answer, in which the owner of the database is no pg_database_owner; to ask for another role's replaces it
    await tenant.query(`SELECT pg_has_role(${quoteLiteral(names.reader)}, ${quoteLiteral(names.owner)}, 'USAGE')`)
    await tenant.query(`ALTER SCHEMA public OWNER TO ${owner}`)
    await tenant.query('REVOKE ALL ON SCHEMA public FROM PUBLIC')
    await tenant.query(`GRANT USAGE ON SCHEMA public TO ${reader}`)
    const defaults = `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner}`
    await tenant.query(`${defaults} GRANT SELECT ON TABLES TO ${reader}`)
    await tenant.query(`${defaults} GRANT SELECT ON SEQUENCES TO ${reader}`)
    await tenant.query(`${defaults} GRANT USAGE ON SCHEMAS TO ${reader}`)
    const { superuser } = await server.ready()
    if (superuser) await closeLargeObjects(tenant, names)
  }
  await inDatabase(server, maintenance, { database: names.database, run })
  await installExtensions({ server, maintenance, names }, extensions, 'first')
}

/** The whole of an update, too. Timeouts and memory are defaults, which a tenant may change for its own sessions. */
export async function applyPlan(maintenance: Session, names: InstanceNames, options: PlanOptions): Promise<void> {
  const database = quoteIdentifier(names.database)
  await setConnectionLimit(maintenance, names.database, options.database_connection_limit)
  for (const setting of ['statement_timeout', 'idle_in_transaction_session_timeout', 'work_mem'] as const) {
    await maintenance.query(`ALTER DATABASE ${database} SET ${setting} = ${quoteLiteral(options[setting])}`)
  }
  await setLockLimit(maintenance, names, options.lock_limit)
  // A limit of 0 marks a login that is being removed
  await maintenance.generate(
    `SELECT format('ALTER ROLE %I CONNECTION LIMIT %s', rolname, $2::int) FROM pg_roles
     WHERE starts_with(rolname, $1) AND rolconnlimit <> 0`,
    [names.loginPrefix, options.connection_limit]
  )
}

/**
 * Keeps the `lock_limit` of the plan on the server, where the guard reads it: as the connection limit of the reader, which
 * limits nothing, because nobody logs in as the reader, and which no tenant can change. A custom setting of the database
 * would be the obvious place, but PostgreSQL lets only a superuser set one.
 */
export async function setLockLimit(maintenance: Session, { reader }: InstanceNames, limit: number): Promise<void> {
  await maintenance.query(`ALTER ROLE ${quoteIdentifier(reader)} CONNECTION LIMIT ${limit.toFixed(0)}`)
}

/** Why an operation on an instance that its storage quota has closed is refused. */
export const FULL =
  'The storage quota of the service instance is used up and its database is closed. Update it to a plan with more storage.'

/**
 * @throws {Rejected} 500 when the database is gone or being removed: nothing that the platform could do with 404 or
 * 410 would be right, and trying again does not bring it back; 400 when its storage is used up
 */
export async function requireUsable(maintenance: Session, names: InstanceNames): Promise<void> {
  const usable = await usability(maintenance, names)
  if (usable === 'full') throw new Rejected(400, FULL)
  if (usable !== 'open') requireThere(usable)
}

/** @throws {Rejected} 500 when the database is gone or being removed */
export function requireThere(usable: Usability): void {
  if (usable === 'gone') throw new Rejected(500, 'The database of this service instance no longer exists.')
  if (usable === 'closed') throw new Rejected(500, 'The database of this service instance is closed.')
}

/** `closed`: a removal did not end. `full`: the storage quota has closed it (`storage/closing.ts`). */
export type Usability = 'open' | 'full' | 'closed' | 'gone'

/** A removal that did not end leaves the database closed, or invalid (-2) when it was interrupted. */
export async function usability(maintenance: Session, { database, owner }: InstanceNames): Promise<Usability> {
  const [row] = await maintenance.query<{ whole: boolean; open: boolean; locked: boolean; admitted: boolean }>(
    `SELECT d.datconnlimit <> -2 AS whole, d.datallowconn AS open, coalesce(o.rolconnlimit >= 0, false) AS locked,
            EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba)))
                    WHERE grantee = o.oid AND privilege_type = 'CONNECT') AS admitted
     FROM pg_database AS d LEFT JOIN pg_roles AS o ON o.rolname = $2 WHERE d.datname = $1`,
    [database, owner]
  )
  if (row === undefined) return 'gone'
  if (row.whole && row.locked && !(row.open && row.admitted)) return 'full'
  return row.whole && row.open ? 'open' : 'closed'
}

/**
 * Never adopts what is not ours: 100 random bits do not collide, so somebody chose the name. The owner's role is the
 * first thing that is made; without it nothing was.
 * @throws {NamesTaken} when another name will do
 * @throws {Rejected} 500 when parts of the instance have these names already
 */
async function refuseTaken(maintenance: Session, { database, owner }: InstanceNames): Promise<void> {
  const [taken] = await maintenance.query<{ made: boolean }>(
    `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $2) AS made FROM pg_database
     WHERE datname = $1 AND datdba <> (SELECT oid FROM pg_roles WHERE rolname = current_user)`,
    [database, owner]
  )
  if (taken === undefined) return
  if (!taken.made) throw new NamesTaken('The name of the new database belongs to somebody else.')
  throw new Rejected(500, 'The database of this service instance belongs to another login than the broker uses now.')
}
