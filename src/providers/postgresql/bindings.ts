import { Unavailable } from '../../core/provider.ts'
import { TENANTS } from './bootstrap.ts'
import { codeOf } from './faults.ts'
import { type Place, requireUsable, usability } from './instances.ts'
import { type BindingState, type InstanceNames, loginName } from './names.ts'
import type { PlanOptions } from './options.ts'
import { quoteIdentifier, quoteLiteral } from './quoting.ts'
import { createRoles, disableLogin, dropRole, joinRole } from './roles.ts'
import { scramVerifier } from './scram.ts'
import type { Session } from './session.ts'
import { connectionLimit, inDatabase, setConnectionLimit, withRoom } from './tenant.ts'

/** Makes a login that can log in only when everything else is in place, and tries it. */
export async function createLogin(place: Place, binding: BindingState, options: PlanOptions): Promise<void> {
  const { maintenance, names } = place
  const login = loginName(binding)
  const quoted = quoteIdentifier(login)
  await requireUsable(maintenance, names)
  await createRoles(maintenance, [login])
  await maintenance.query(`ALTER ROLE ${quoted} CONNECTION LIMIT ${options.connection_limit.toFixed(0)}`)
  await maintenance.query(`GRANT ${quoteIdentifier(TENANTS)} TO ${quoted}`)
  await joinRole(maintenance, names.owner)
  await joinRole(maintenance, login)
  const strays = await loginsWithObjects(maintenance, names)
  if (binding.role === 'owner') await letWrite(place, login, strays)
  else await letRead(place, login, strays)
  const verifier = quoteLiteral(await scramVerifier(binding.password))
  await maintenance.query(`ALTER ROLE ${quoted} LOGIN PASSWORD ${verifier} VALID UNTIL 'infinity'`)
  await tryLogin(place, binding)
  // Attempts that crashed, or ran side by side, may have left the limit raised that they raised to get in
  if ((await connectionLimit(maintenance, names.database)) !== options.connection_limit) {
    await setConnectionLimit(maintenance, names.database, options.connection_limit)
  }
}

/** Its sessions act as the owner from the start, so that every binding can change what any other made. */
async function letWrite({ server, maintenance, names }: Place, login: string, strays: string[]): Promise<void> {
  const [usr, owner, reader] = [quoteIdentifier(login), quoteIdentifier(names.owner), quoteIdentifier(names.reader)]
  await maintenance.query(`GRANT ${owner} TO ${usr}`)
  await maintenance.query(
    `ALTER ROLE ${usr} IN DATABASE ${quoteIdentifier(names.database)} SET role TO ${quoteLiteral(names.owner)}`
  )
  const run = async (tenant: Session) => {
    // For what sessions make that dropped the role, by DISCARD ALL or SET ROLE NONE
    const defaults = `ALTER DEFAULT PRIVILEGES FOR ROLE ${usr}`
    for (const kind of ['TABLES', 'SEQUENCES', 'SCHEMAS']) {
      await tenant.query(`${defaults} GRANT ALL ON ${kind} TO ${owner}`)
    }
    await tenant.query(`${defaults} GRANT SELECT ON TABLES TO ${reader}`)
    await tenant.query(`${defaults} GRANT SELECT ON SEQUENCES TO ${reader}`)
    await tenant.query(`${defaults} GRANT USAGE ON SCHEMAS TO ${reader}`)
    await heal(tenant, names, strays)
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}

async function letRead({ server, maintenance, names }: Place, login: string, strays: string[]): Promise<void> {
  const usr = quoteIdentifier(login)
  await maintenance.query(`GRANT ${quoteIdentifier(names.reader)} TO ${usr}`)
  await maintenance.query(
    `ALTER ROLE ${usr} IN DATABASE ${quoteIdentifier(names.database)} SET default_transaction_read_only = on`
  )
  if (strays.length === 0) return
  const run = (tenant: Session) => heal(tenant, names, strays)
  await inDatabase(server, maintenance, { database: names.database, run })
}

/** Logins that own something in the database themselves. Their default privileges count as owned, and stay. */
async function loginsWithObjects(maintenance: Session, names: InstanceNames): Promise<string[]> {
  const rows = await maintenance.query<{ rolname: string }>(
    `SELECT DISTINCT r.rolname::text FROM pg_shdepend s
     JOIN pg_database d ON d.oid = s.dbid JOIN pg_roles r ON r.oid = s.refobjid
     WHERE d.datname = $1 AND starts_with(r.rolname, $2) AND s.deptype = 'o'
       AND s.refclassid = 'pg_authid'::regclass AND s.classid <> 'pg_default_acl'::regclass`,
    [names.database, names.loginPrefix]
  )
  return rows.map((row) => row.rolname)
}

/** Gives the owner what bindings made as themselves; else the next binding could not change it. */
async function heal(tenant: Session, names: InstanceNames, strays: string[]): Promise<void> {
  if (strays.length === 0) return
  const from = strays.map(quoteIdentifier).join(', ')
  try {
    await tenant.query(`REASSIGN OWNED BY ${from} TO ${quoteIdentifier(names.owner)}`)
  } catch (error) {
    // Another binding's open transaction is no reason to refuse this one; the next bind or unbind heals
    if (codeOf(error) !== '55P03') throw error
    tenant.work.log.warn({ logins: strays }, 'Objects that are locked stay with the bindings that made them.')
  }
}

/**
 * Servers have ignored ALTER ROLE SET role; objects would belong to the login, unnoticed until the unbind.
 * @throws {Unavailable} when the credentials are refused
 */
async function tryLogin({ server, maintenance, names }: Place, binding: BindingState): Promise<void> {
  const login = { database: names.database, username: loginName(binding), password: binding.password }
  const expected = binding.role === 'owner' ? names.owner : login.username
  const name = await withRoom(maintenance, names.database, () => server.logIn(maintenance.work.signal, login)).catch(
    (cause: unknown) => {
      // Otherwise a pg_hba.conf without a line for tenants would pass for a wrong password of the admin
      if (codeOf(cause)?.startsWith('28') !== true) throw cause
      throw new Unavailable('The database server does not accept the new credentials.', { cause })
    }
  )
  if (name !== expected) throw new Error('A new login does not act as the role that it was given.')
}

/** Revokes a binding; succeeds when there is nothing left of it. Its objects stay, with the owner. */
export async function removeLogin({ server, maintenance, names }: Place, login: string): Promise<void> {
  await disableLogin(maintenance, names, login)
  if ((await usability(maintenance, names)) === 'closed') {
    // Nobody gets in to take the login's objects; it is revoked, and the removal of the instance drops it
    return maintenance.work.log.warn(
      { login },
      'The login stays, without rights, until its closed database is removed.'
    )
  }
  await dropRole(server, maintenance, { names, role: login })
}
