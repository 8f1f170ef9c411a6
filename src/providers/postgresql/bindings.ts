import { Unavailable } from '../../core/provider.ts'
import { TENANTS } from './bootstrap.ts'
import { codeOf } from './faults.ts'
import { type Place, requireUsable, usability } from './instances.ts'
import { type BindingState, loginName } from './names.ts'
import { healPolitely, loginsWithObjects } from './ownership.ts'
import type { PlanOptions } from './plan-options.ts'
import { quoteIdentifier, quoteLiteral } from './quoting.ts'
import { rollBackPrepared } from './removal.ts'
import { revoke } from './revocation.ts'
import { giveOwner, giveReader } from './rights.ts'
import { removeRole } from './role-removal.ts'
import { createRoles, joinRole } from './roles.ts'
import type { Session } from './session.ts'
import { close } from './storage/closing.ts'
import { isLocked, withhold } from './storage/lock.ts'
import { connectionLimit, inDatabase, setConnectionLimit, withRoom } from './tenant.ts'

/** Makes a login that can log in only when everything else is in place, and tries it where its password is known. */
export async function createLogin(
  place: Place,
  binding: BindingState,
  { plan, password }: { plan: PlanOptions; password?: string }
): Promise<void> {
  const { maintenance, names } = place
  const login = loginName(binding)
  const quoted = quoteIdentifier(login)
  await requireUsable(maintenance, names)
  await createRoles(maintenance, [login])
  await maintenance.query(`ALTER ROLE ${quoted} CONNECTION LIMIT ${plan.connection_limit.toFixed(0)}`)
  await maintenance.query(`GRANT ${quoteIdentifier(TENANTS)} TO ${quoted}`)
  await joinRole(maintenance, names.owner)
  await joinRole(maintenance, login)
  const strays = await loginsWithObjects(maintenance, names)
  if (binding.role === 'owner') await letWrite(place, login, strays)
  else await letRead(place, login, strays)
  const locked = binding.role === 'owner' && (await isLocked(maintenance, names))
  if (locked) await withhold(place, [login])
  await enableLogin(maintenance, binding)
  if (password !== undefined) await tryLogin(place, { binding, password, locked })
  // Attempts that crashed, or ran side by side, may have left the limit raised that they raised to get in
  if ((await connectionLimit(maintenance, names.database)) !== plan.database_connection_limit) {
    await setConnectionLimit(maintenance, names.database, plan.database_connection_limit)
  }
}

/** The last step of a bind; also gives the login its password back. */
export async function enableLogin(maintenance: Session, binding: BindingState): Promise<void> {
  const verifier = quoteLiteral(binding.verifier)
  const until = quoteLiteral(binding.validity?.expiresAt ?? 'infinity')
  await maintenance.query(
    `ALTER ROLE ${quoteIdentifier(loginName(binding))} LOGIN PASSWORD ${verifier} VALID UNTIL ${until}`
  )
}

/** Its sessions act as the owner from the start, so that every binding can change what any other made. */
async function letWrite(place: Place, login: string, strays: string[]): Promise<void> {
  const { server, maintenance, names } = place
  const [usr, owner, reader] = [quoteIdentifier(login), quoteIdentifier(names.owner), quoteIdentifier(names.reader)]
  await giveOwner(place, login)
  const run = async (tenant: Session) => {
    // For what sessions make that dropped the role, by DISCARD ALL or SET ROLE NONE
    const defaults = `ALTER DEFAULT PRIVILEGES FOR ROLE ${usr}`
    for (const kind of ['TABLES', 'SEQUENCES', 'SCHEMAS']) {
      await tenant.query(`${defaults} GRANT ALL ON ${kind} TO ${owner}`)
    }
    await tenant.query(`${defaults} GRANT SELECT ON TABLES TO ${reader}`)
    await tenant.query(`${defaults} GRANT SELECT ON SEQUENCES TO ${reader}`)
    await tenant.query(`${defaults} GRANT USAGE ON SCHEMAS TO ${reader}`)
    await healPolitely(tenant, names, strays)
  }
  await inDatabase(server, maintenance, { database: names.database, run })
}

async function letRead(place: Place, login: string, strays: string[]): Promise<void> {
  const { server, maintenance, names } = place
  await giveReader(place, login)
  if (strays.length === 0) return
  const run = (tenant: Session) => healPolitely(tenant, names, strays)
  await inDatabase(server, maintenance, { database: names.database, run })
}

/**
 * Servers have ignored ALTER ROLE SET role; objects would belong to the login, unnoticed until the unbind.
 * @throws {Unavailable} when the credentials are refused
 */
async function tryLogin(
  { server, maintenance, names }: Place,
  { binding, password, locked }: { binding: BindingState; password: string; locked: boolean }
): Promise<void> {
  const username = loginName(binding)
  const expected = binding.role === 'owner' && !locked ? names.owner : username
  const login = { database: names.database, username, password }
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
export async function removeLogin(place: Place, login: string): Promise<void> {
  const { maintenance, names } = place
  const [failure] = await revoke(place, [login])
  if (failure !== undefined) throw failure
  const usable = await usability(maintenance, names)
  // An earlier version closed databases to the broker, too.
  if (usable === 'full') await close(place)
  if (usable === 'open' || usable === 'full') await rollBackPrepared(place, login)
  await removeRole(place, login)
}
