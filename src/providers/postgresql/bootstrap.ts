import { setTimeout as delay } from 'node:timers/promises'
import { codeOf, isCatalogRace, ServerUnfit } from './faults.ts'
import { quoteIdentifier } from './quoting.ts'
import type { Query } from './statement.ts'

/** Group of all bindings' logins: the handle for one line in pg_hba.conf. */
export const TENANTS = 'osb_tenant'

/**
 * Before these, DISCARD ALL drops the role that ALTER ROLE SET gave a login (and 15.9, 16.5 and 17.1 ignore it), so a
 * binding's objects would belong to the binding. Key: major version.
 */
const MINIMUM_VERSIONS = new Map([
  [15, 150010],
  [16, 160006],
  [17, 170002]
])
const OLDEST_MAJOR = 15

const RACES = new Set(['42710', '23505', '40001'])
const TRIES = 5

/** What the server said of itself. */
export interface ServerFacts {
  readonly tls: boolean
  /** Whether the admin is a superuser. */
  readonly superuser: boolean
  /** `server_version_num` */
  readonly version: number
}

interface Facts {
  version: number
  version_text: string
  superuser: boolean
  may_create: boolean
  tls: boolean
}

/**
 * Prepares the server for tenants: repeatable, and safe while other replicas do the same.
 * @throws {ServerUnfit} when the server is too old or the admin's rights do not suffice
 */
export async function bootstrap(query: Query, stateDatabase: string | undefined): Promise<ServerFacts> {
  for (let tries = 1; ; tries++) {
    try {
      return await prepare(query, stateDatabase)
    } catch (error) {
      // Another replica may change the same row of a catalog. All is idempotent, so retry
      if (tries === TRIES || !(isCatalogRace(error) || RACES.has(codeOf(error) ?? ''))) throw error
      await delay(20 * tries * (1 + Math.random()))
    }
  }
}

async function prepare(query: Query, stateDatabase: string | undefined): Promise<ServerFacts> {
  const [facts] = await query<Facts>(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text,
            rolsuper AS superuser, rolsuper OR (rolcreatedb AND rolcreaterole) AS may_create,
            current_setting('ssl')::bool AS tls
     FROM pg_roles WHERE rolname = current_user`
  )
  if (facts === undefined) throw new ServerUnfit('The PostgreSQL server does not know the admin it let in.')
  refuseUnfit(facts)
  await createTenants(query, facts)
  await closeToTenants(query, stateDatabase)
  return { tls: facts.tls, superuser: facts.superuser, version: facts.version }
}

/** @throws {ServerUnfit} when the server is too old or the admin's rights do not suffice */
export function refuseUnfit({ version, version_text, may_create }: Omit<Facts, 'superuser' | 'tls'>): void {
  const major = Math.floor(version / 10000)
  if (major < OLDEST_MAJOR || version < (MINIMUM_VERSIONS.get(major) ?? 0)) {
    throw new ServerUnfit(
      `The PostgreSQL server has version ${version_text}; needed is 15.10, 16.6, 17.2 or 18.0, or a later one of these.`
    )
  }
  if (!may_create) {
    throw new ServerUnfit('The PostgreSQL admin has to be a superuser, or to have CREATEDB and CREATEROLE.')
  }
}

async function createTenants(query: Query, { superuser, version }: Facts): Promise<void> {
  const [tenants] = await query<{ admin: boolean }>(
    `SELECT pg_has_role(current_user, oid, 'MEMBER WITH ADMIN OPTION') AS admin FROM pg_roles WHERE rolname = $1`,
    [TENANTS]
  )
  if (tenants === undefined) {
    await query(`CREATE ROLE ${quoteIdentifier(TENANTS)} NOLOGIN`)
  } else if (version >= 160000 && !superuser && !tenants.admin) {
    throw new ServerUnfit(`The PostgreSQL admin needs ADMIN OPTION on the role ${TENANTS}, which somebody else made.`)
  }
}

/**
 * Keeps tenants out of the databases that are not theirs, where we may: a managed server's operator has to do it
 * (`docs/postgresql.md`). PUBLIC may connect to every database by default.
 */
async function closeToTenants(query: Query, stateDatabase: string | undefined): Promise<void> {
  const rows = await query<{ statement: string }>(
    `SELECT format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', datname) AS statement
     FROM pg_database
     WHERE (datname IN ('postgres', 'template1', current_database()) OR datname = $1)
       AND pg_has_role(current_user, datdba, 'USAGE')
       AND EXISTS (SELECT FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))
                   WHERE grantee = 0 AND privilege_type IN ('CONNECT', 'TEMPORARY'))`,
    [stateDatabase ?? null]
  )
  for (const { statement } of rows) await query(statement)
}
