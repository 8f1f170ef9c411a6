import type { Place } from '../instances.ts'
import { resourceName } from '../inventory.ts'
import { quoteIdentifier } from '../quoting.ts'
import type { Drift } from './drift.ts'

/** Settings of one role that a repair reports and resets at a time. The next round finds the others. */
const MAX_SETTINGS = 100

/**
 * Settings of a role that the broker did not make. A login can set any parameter for itself, role-wide and in each database of
 * the server, and so can a binding for the owner as which it acts. The value of a setting can be many megabytes long, so only
 * its name leaves the server. Parameters that only a superuser may set stay, because an operator has set them.
 * @param own Name of the setting that the broker makes for the role in the database of the instance.
 */
export async function settingsDrift(
  { server, maintenance, names }: Place,
  role: string,
  own: string | null
): Promise<Drift[]> {
  const resource = resourceName('role', role, server.name)
  const rows = await maintenance.query<{ database: string | null; name: string }>(
    `SELECT d.datname::text AS database, s.name
     FROM (SELECT setdatabase, setrole, split_part(left(entry, 256), '=', 1) AS name
           FROM pg_db_role_setting, unnest(setconfig) AS entry) AS s
     LEFT JOIN pg_database AS d ON d.oid = s.setdatabase
     WHERE s.setrole = (SELECT oid FROM pg_roles WHERE rolname = $1)
       AND NOT (d.datname IS NOT DISTINCT FROM $2 AND s.name = $3)
       AND s.name <> ALL (ARRAY(SELECT name FROM pg_settings WHERE context <> 'user'))
     ORDER BY d.datname IS DISTINCT FROM $2, d.datname NULLS FIRST, s.name LIMIT ${MAX_SETTINGS}`,
    [role, names.database, own ?? '']
  )
  return rows.map(({ database, name }) => {
    const scope = database === null ? '' : ` IN DATABASE ${quoteIdentifier(database)}`
    const parameter = name.split('.').map(quoteIdentifier).join('.')
    const statement = `ALTER ROLE ${quoteIdentifier(role)}${scope} RESET ${parameter}`
    const elsewhere = database === null || database === names.database ? '' : ` in the database ${database}`
    return {
      resource,
      finding: `has its own ${name}${elsewhere}`,
      heal: async () => void (await maintenance.query(statement))
    }
  })
}
