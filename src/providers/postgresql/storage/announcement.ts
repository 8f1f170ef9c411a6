import type { Place } from '../instances.ts'
import { quoteIdentifier, quoteLiteral } from '../quoting.ts'

/*
 * An application on a locked database sees "permission denied for table", which PostgreSQL cannot be made to explain. So the
 * database says why: in its comment (psql's `\\l+`), which each admin may set, and in a setting that each session can SHOW,
 * which only a superuser may set, or an admin with `GRANT SET ON PARAMETER "osb.storage_quota"`.
 */

const TEXT =
  'The storage quota is used up: bindings can only read, DELETE and TRUNCATE until there is room again or the service instance has a plan with more storage.'

const SETTING = 'osb.storage_quota'

/** Says in the database that its storage quota is used up. */
export async function announce({ maintenance, names }: Place): Promise<void> {
  await maintenance.query(`COMMENT ON DATABASE ${quoteIdentifier(names.database)} IS ${quoteLiteral(TEXT)}`)
  await maintenance.generate(
    `SELECT format('ALTER DATABASE %I SET ${SETTING} = %L', $1::text, $2::text) WHERE has_parameter_privilege($3, 'SET')`,
    [names.database, TEXT, SETTING]
  )
}

/** Takes it back. Sessions that have the setting keep it until they end. */
export async function withdraw({ maintenance, names }: Place): Promise<void> {
  await maintenance.query(`COMMENT ON DATABASE ${quoteIdentifier(names.database)} IS NULL`)
  await maintenance.generate(
    `SELECT format('ALTER DATABASE %I RESET ${SETTING}', $1::text) WHERE has_parameter_privilege($2, 'SET')`,
    [names.database, SETTING]
  )
}
