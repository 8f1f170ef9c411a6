import { createLogin, enableLogin } from '../bindings.ts'
import { TENANTS } from '../bootstrap.ts'
import type { Place } from '../instances.ts'
import { resourceName } from '../inventory.ts'
import { type BindingState, loginName } from '../names.ts'
import type { PlanOptions } from '../plan-options.ts'
import { quoteIdentifier } from '../quoting.ts'
import { giveOwner, giveReader } from '../rights.ts'
import { isSameVerifier, saltOf } from '../scram.ts'
import { isLocked } from '../storage/lock.ts'
import type { Drift } from './drift.ts'
import { ATTRIBUTES_OF_R, MAX_MEMBERSHIPS } from './roles.ts'
import { settingsDrift } from './settings.ts'

interface LoginRow extends Record<string, unknown> {
  login: boolean
  limit: number
  until: Date | number | null
  attributes: string[]
  groups: string[]
  /** Whether the setting of the broker is in force in the database. */
  begins: boolean
}

/** Longer than a verifier of the broker. Before PostgreSQL 18, a tenant can set one of many megabytes. */
const VERIFIER_CHARACTERS = 256

/** How a login differs from what its bind has created. */
export async function loginDrift(place: Place, binding: BindingState, plan: PlanOptions): Promise<Drift[]> {
  const { server, maintenance, names } = place
  const login = loginName(binding)
  const resource = resourceName('role', login, server.name)
  const quoted = quoteIdentifier(login)
  const own = binding.role === 'owner' ? 'role' : 'default_transaction_read_only'
  const setting = `${own}=${binding.role === 'owner' ? names.owner : 'on'}`
  const row = await readLogin(place, login, setting)
  const remake = () => createLogin(place, binding, { plan })
  if (row === undefined) return [{ resource, finding: 'is not there', heal: remake }]
  // A limit of 0 marks one that is being removed: to give it back would undo half of an unbind
  if (row.limit === 0) return [{ resource, finding: 'is disabled: its removal did not end' }]

  const drift: Drift[] = []
  const add = (finding: string, heal: () => Promise<void>) => drift.push({ resource, finding, heal })
  const change = (finding: string, statement: string) =>
    add(finding, async () => void (await maintenance.query(statement)))

  if (row.limit !== plan.connection_limit) {
    const statement = `ALTER ROLE ${quoted} CONNECTION LIMIT ${plan.connection_limit.toFixed(0)}`
    change(`has the connection limit ${row.limit}, not ${plan.connection_limit}`, statement)
  }
  for (const word of row.attributes) change(`has got ${word}`, `ALTER ROLE ${quoted} NO${word}`)

  const locked = binding.role === 'owner' && (await isLocked(maintenance, names))
  const right = binding.role === 'owner' && !locked ? names.owner : names.reader
  if (!row.groups.includes(TENANTS)) {
    change(`is no member of ${TENANTS}`, `GRANT ${quoteIdentifier(TENANTS)} TO ${quoted}`)
  }
  const give = binding.role === 'owner' ? giveOwner : giveReader
  // The watch over the storage sees to the rights of locked ones
  if (!row.groups.includes(right) && !locked) add(`is no member of ${right}`, () => give(place, login))
  for (const group of row.groups) {
    if (group === TENANTS || group === right || locked) continue
    change(`has become a member of ${group}`, `REVOKE ${quoteIdentifier(group)} FROM ${quoted}`)
  }
  if (!locked && !row.begins) add(`does not begin its sessions with ${setting}`, () => give(place, login))
  drift.push(...(await settingsDrift(place, login, own)))

  const enable = () => enableLogin(maintenance, binding)
  if (!row.login) add('may not log in', enable)
  else if (!sameTime(row.until, binding.validity?.expiresAt)) add('works until another time', enable)
  else if (!(await hasPassword(place, binding))) add('has another password', enable)
  return drift
}

async function readLogin({ maintenance, names }: Place, login: string, setting: string): Promise<LoginRow | undefined> {
  const [row] = await maintenance.query<LoginRow>(
    `SELECT r.rolcanlogin AS login, r.rolconnlimit AS "limit", r.rolvaliduntil AS until, ${ATTRIBUTES_OF_R} AS attributes,
            ARRAY(SELECT g.rolname::text FROM pg_auth_members am JOIN pg_roles g ON g.oid = am.roleid
                  WHERE am.member = r.oid LIMIT ${MAX_MEMBERSHIPS}) AS groups,
            EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
                    WHERE d.datname = $2 AND s.setrole = r.oid AND $3 = ANY (s.setconfig)) AS begins
     FROM pg_roles AS r WHERE r.rolname = $1`,
    [login, names.database, setting]
  )
  return row
}

/** `infinity` comes as a number, and as null where none was ever set. */
function sameTime(until: Date | number | null, expiresAt: string | undefined): boolean {
  if (until instanceof Date) return expiresAt !== undefined && until.getTime() === new Date(expiresAt).getTime()
  return expiresAt === undefined
}

/**
 * A superuser compares the verifier. Any other admin compares the salt that the server sends at a login, because a new password
 * gets a new salt unless the tenant computes the verifier itself.
 */
async function hasPassword({ server, maintenance, names }: Place, binding: BindingState): Promise<boolean> {
  const login = loginName(binding)
  const { superuser } = await server.ready()
  if (superuser) {
    const [row] = await maintenance.query<{ verifier: string | null }>(
      `SELECT left(rolpassword, ${VERIFIER_CHARACTERS}) AS verifier FROM pg_authid WHERE rolname = $1`,
      [login]
    )
    return row?.verifier != null && isSameVerifier(row.verifier, binding.verifier)
  }
  const told = await server.saltOf(maintenance.work.signal, { database: names.database, username: login })
  return told === undefined || told === saltOf(binding.verifier)
}
