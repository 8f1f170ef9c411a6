import type { Place } from '../instances.ts'
import { resourceName } from '../inventory.ts'
import { quoteIdentifier } from '../quoting.ts'
import { ATTRIBUTES, type Drift } from './drift.ts'

interface RoleRow extends Record<string, unknown> {
  role: string
  login: boolean
  attributes: string[]
  groups: string[]
  members: string[]
}

/** What `pg_roles` says of attributes, as a list of the statements' words. */
export const ATTRIBUTES_OF_R = `array_remove(ARRAY[${ATTRIBUTES.map(
  ([column, word]) => `CASE WHEN r.${column} THEN '${word}' END`
).join(', ')}], NULL)`

/** How the owner and the reader differ from two groups that have nothing but the database. */
export async function rolesDrift({ server, maintenance, names }: Place): Promise<Drift[]> {
  const rows = await maintenance.query<RoleRow>(
    `SELECT r.rolname::text AS role, r.rolcanlogin AS login, ${ATTRIBUTES_OF_R} AS attributes,
            ARRAY(SELECT g.rolname::text FROM pg_auth_members am JOIN pg_roles g ON g.oid = am.roleid
                  WHERE am.member = r.oid) AS groups,
            ARRAY(SELECT m.rolname::text FROM pg_auth_members am JOIN pg_roles m ON m.oid = am.member
                  WHERE am.roleid = r.oid AND m.rolname <> current_user) AS members
     FROM pg_roles AS r WHERE r.rolname IN ($1, $2)`,
    [names.owner, names.reader]
  )
  return [names.owner, names.reader].flatMap((role) => {
    const resource = resourceName('role', role, server.name)
    const row = rows.find((one) => one.role === role)
    if (row === undefined) return [{ resource, finding: 'is not there' }]
    const change = (finding: string, statement: string): Drift => {
      return { resource, finding, heal: async () => void (await maintenance.query(statement)) }
    }
    const quoted = quoteIdentifier(role)
    return [
      ...(row.login ? [change('may log in', `ALTER ROLE ${quoted} NOLOGIN PASSWORD NULL`)] : []),
      ...row.attributes.map((word) => change(`has got ${word}`, `ALTER ROLE ${quoted} NO${word}`)),
      ...row.groups.map((group) =>
        change(`has become a member of ${group}`, `REVOKE ${quoteIdentifier(group)} FROM ${quoted}`)
      ),
      ...row.members
        .filter(isStranger)
        .map((member) => change(`has got the member ${member}`, `REVOKE ${quoted} FROM ${quoteIdentifier(member)}`))
    ]
  })

  /** A role of another tenant; what an operator's own roles may do is his affair. */
  function isStranger(member: string): boolean {
    return member.startsWith('osb_') && !member.startsWith(names.loginPrefix)
  }
}
