import type { InstanceNames } from './names.ts'
import { quoteIdentifier } from './quoting.ts'
import type { Session } from './session.ts'

/*
 * Large objects are everybody's to make: no right on a database or a schema prevents it, so a reader could write, and a login
 * whose storage is used up too. Only the functions that write them have rights, which belong to the bootstrap superuser: a
 * superuser as admin gives them to the owner alone. Nobody but the owner's bindings can write large objects then. Reading and
 * removing them remains everybody's, as far as the rights on a large object go.
 */

/** Functions of `pg_catalog` that make or change a large object. Those that access files are for superusers alone anyway. */
const WRITERS = ['lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lowrite', 'lo_truncate', 'lo_truncate64']

/** Whether everybody may write large objects in the database of the session. */
export async function areLargeObjectsOpen(tenant: Session, { owner }: InstanceNames): Promise<boolean> {
  const [row] = await tenant.query<{ open: boolean }>(
    `SELECT bool_or(has_function_privilege('public', p.oid, 'EXECUTE') OR NOT has_function_privilege($1, p.oid, 'EXECUTE')) AS open
     FROM pg_proc AS p WHERE ${IS_WRITER}`,
    [owner]
  )
  return row?.open === true
}

/** Lets the owner alone write large objects in the database of the session, which only a superuser can do. */
export async function closeLargeObjects(tenant: Session, { owner }: InstanceNames): Promise<void> {
  const [row] = await tenant.query<{ list: string }>(
    `SELECT string_agg(p.oid::regprocedure::text, ', ') AS list FROM pg_proc AS p WHERE ${IS_WRITER}`
  )
  if (row === undefined) return
  await tenant.query(`GRANT EXECUTE ON FUNCTION ${row.list} TO ${quoteIdentifier(owner)}`)
  await tenant.query(`REVOKE EXECUTE ON FUNCTION ${row.list} FROM PUBLIC`)
}

const IS_WRITER = `p.pronamespace = 'pg_catalog'::regnamespace AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'internal')
  AND p.proname IN (${WRITERS.map((name) => `'${name}'`).join(', ')})`
