import type { Place } from '../instances.ts'
import { quoteIdentifier } from '../quoting.ts'
import { endSessions, loginsOf } from '../roles.ts'
import { resolutely } from './resolutely.ts'

/*
 * A locked database that still grows is closed: no role of the instance may connect to it. The admin gets in at any time,
 * because it owns the database or is a superuser. So the grants in a closed database to a role of another tenant can be
 * removed, which `ALLOW_CONNECTIONS false` would prevent.
 */

/**
 * Closes a database, or closes it again. A database that an earlier version closed with `ALLOW_CONNECTIONS false` accepts
 * connections of the admin afterwards.
 */
export async function close(place: Place): Promise<void> {
  const { maintenance, names } = place
  await resolutely(place, [
    () =>
      // Also from a login that an administrator has let in, and from everybody
      maintenance.generate(
        `SELECT format('REVOKE CONNECT ON DATABASE %I FROM %s', d.datname,
                       string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END, ', '))
         FROM pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
         LEFT JOIN pg_roles AS r ON r.oid = a.grantee
         WHERE d.datname = $1 AND a.privilege_type = 'CONNECT'
           AND (a.grantee = 0 OR r.rolname IN ($2, $3) OR starts_with(r.rolname, $4))
         GROUP BY d.datname`,
        [names.database, names.owner, names.reader, names.loginPrefix]
      ),
    async () => {
      for (const login of await loginsOf(maintenance, names)) await endSessions(maintenance, login)
    }
  ])
  await maintenance.generate(
    `SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database
     WHERE datname = $1 AND NOT datallowconn AND datconnlimit <> -2`,
    [names.database]
  )
}

/** Lets the roles of the instance connect again. */
export async function reopen({ maintenance, names }: Place): Promise<void> {
  const database = quoteIdentifier(names.database)
  const roles = [names.owner, names.reader].map(quoteIdentifier).join(', ')
  await maintenance.query(`GRANT CONNECT ON DATABASE ${database} TO ${roles}`)
  await maintenance.query(`ALTER DATABASE ${database} ALLOW_CONNECTIONS true`)
}
