import { type Place, setLockLimit } from '../instances.ts'
import { resourceName } from '../inventory.ts'
import type { PlanOptions } from '../plan-options.ts'
import { quoteIdentifier } from '../quoting.ts'
import { ATTRIBUTES, type Drift } from './drift.ts'
import { settingsDrift } from './settings.ts'

interface RoleRow extends Record<string, unknown> {
  role: string
  login: boolean
  limit: number
  attributes: string[]
  groups: string[]
  members: string[]
}

/** Maximum number of memberships that a repair reads of one role. */
export const MAX_MEMBERSHIPS = 100

/** SQL for the attributes of the role `r` that it must not have, as the words of ALTER ROLE. */
export const ATTRIBUTES_OF_R = `array_remove(ARRAY[${ATTRIBUTES.map(
  ([column, word]) => `CASE WHEN r.${column} THEN '${word}' END`
).join(', ')}], NULL)`

/** How the owner and the reader differ from two groups that have no rights but those on the database. */
export async function rolesDrift(place: Place, plan: PlanOptions): Promise<Drift[]> {
  const { server, maintenance, names } = place
  const rows = await maintenance.query<RoleRow>(
    // An operator decides what roles outside of the broker may do, so only roles of other tenants are strangers.
    `SELECT r.rolname::text AS role, r.rolcanlogin AS login, r.rolconnlimit AS "limit", ${ATTRIBUTES_OF_R} AS attributes,
            ARRAY(SELECT g.rolname::text FROM pg_auth_members am JOIN pg_roles g ON g.oid = am.roleid
                  WHERE am.member = r.oid LIMIT ${MAX_MEMBERSHIPS}) AS groups,
            ARRAY(SELECT m.rolname::text FROM pg_auth_members am JOIN pg_roles m ON m.oid = am.member
                  WHERE am.roleid = r.oid AND m.rolname <> current_user
                    AND starts_with(m.rolname, 'osb_') AND NOT starts_with(m.rolname, $3)
                  LIMIT ${MAX_MEMBERSHIPS}) AS members
     FROM pg_roles AS r WHERE r.rolname IN ($1, $2)`,
    [names.owner, names.reader, names.loginPrefix]
  )
  const drift: Drift[] = []
  for (const role of [names.owner, names.reader]) {
    const resource = resourceName('role', role, server.name)
    const row = rows.find((one) => one.role === role)
    if (row === undefined) {
      drift.push({ resource, finding: 'is not there' })
      continue
    }
    const quoted = quoteIdentifier(role)
    const change = (finding: string, statement: string) =>
      drift.push({ resource, finding, heal: async () => void (await maintenance.query(statement)) })
    if (row.login) change('may log in', `ALTER ROLE ${quoted} NOLOGIN PASSWORD NULL`)
    else if (await hasPassword(place, role)) change('has a password', `ALTER ROLE ${quoted} PASSWORD NULL`)
    if (role === names.reader && row.limit !== plan.lock_limit) {
      const finding = row.limit < 0 ? 'has no lock limit' : `has the lock limit ${row.limit}, not ${plan.lock_limit}`
      drift.push({ resource, finding, heal: () => setLockLimit(maintenance, names, plan.lock_limit) })
    }
    for (const word of row.attributes) change(`has got ${word}`, `ALTER ROLE ${quoted} NO${word}`)
    for (const group of row.groups) {
      change(`has become a member of ${group}`, `REVOKE ${quoteIdentifier(group)} FROM ${quoted}`)
    }
    for (const member of row.members) {
      change(`has got the member ${member}`, `REVOKE ${quoted} FROM ${quoteIdentifier(member)}`)
    }
    drift.push(...(await settingsDrift(place, role, null)))
  }
  return drift
}

/** A binding can give the role that it acts as a password, which works as soon as that role may log in. */
async function hasPassword({ server, maintenance }: Place, role: string): Promise<boolean> {
  const { superuser } = await server.ready()
  if (!superuser) return false
  const rows = await maintenance.query('SELECT FROM pg_authid WHERE rolname = $1 AND rolpassword IS NOT NULL', [role])
  return rows.length > 0
}
