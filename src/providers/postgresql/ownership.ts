import { codeOf } from './faults.ts'
import type { InstanceNames } from './names.ts'
import { quoteIdentifier, quoteLiteral } from './quoting.ts'
import type { Session } from './session.ts'

/** Logins that own something in the database themselves. Their default privileges count as owned, and stay. */
export async function loginsWithObjects(maintenance: Session, names: InstanceNames): Promise<string[]> {
  // EXISTS stops at the first object, because a login can own a million.
  const rows = await maintenance.query<{ rolname: string }>(
    `SELECT r.rolname::text FROM pg_roles r
     WHERE starts_with(r.rolname, $2) AND EXISTS (
       SELECT FROM pg_shdepend s
       WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = $1) AND s.refobjid = r.oid AND s.deptype = 'o'
         AND s.refclassid = 'pg_authid'::regclass AND s.classid <> 'pg_default_acl'::regclass)
     ORDER BY r.rolname`,
    [names.database, names.loginPrefix]
  )
  return rows.map((row) => row.rolname)
}

/** Shorter than the guard allows sessions of tenants to block the broker, so that the guard ends none for this. */
const PATIENCE = `SET lock_timeout = '1s'`

/**
 * Gives the owner what bindings have created as themselves, as a bind does. Otherwise other bindings could not change it. A
 * session that uses such an object goes on, because it belongs to another application.
 */
export async function healPolitely(tenant: Session, names: InstanceNames, strays: string[]): Promise<void> {
  if (strays.length === 0) return
  await tenant.query(PATIENCE)
  await heal(tenant, names, strays)
}

/** The same with the usual timeout. */
export async function heal(tenant: Session, names: InstanceNames, strays: string[]): Promise<void> {
  try {
    for (const login of strays) await reassign(tenant, login, names)
  } catch (error) {
    // Another binding's open transaction is no reason to fail this one, because the next bind or unbind repeats this.
    if (codeOf(error) !== '55P03') throw error
    tenant.work.log.warn({ logins: strays }, 'Objects that are locked stay with the bindings that made them.')
  }
}

/** Relations in a transaction. Each takes a lock for itself, its indexes and its TOAST table. */
const BATCH = 100

/**
 * Gives the owner everything in the database that a role owns. REASSIGN OWNED locks each relation until it is done, and many
 * thousands of relations would fill the lock table of the server, so they change their owner in batches before it. As a
 * relation is altered by name, which a tenant can give to another, a batch is rolled back if a relation keeps its owner. Relations
 * in a schema where the owner may not create any are left to REASSIGN OWNED, which does not check that right.
 */
export async function reassign(tenant: Session, role: string, { owner }: Pick<InstanceNames, 'owner'>): Promise<void> {
  await tenant.query(
    `DO ${quoteLiteral(`
    DECLARE
      relation record;
      moved int;
    BEGIN
      LOOP
        moved := 0;
        FOR relation IN
          SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name
          FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
          WHERE c.relowner = ${quoteLiteral(quoteIdentifier(role))}::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
            AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
                 OR has_schema_privilege(${quoteLiteral(owner)}, n.oid, 'CREATE'))
            AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                            AND c.relkind = 'S' AND d.deptype IN ('a', 'i'))
          LIMIT ${BATCH}
        LOOP
          EXECUTE format('ALTER TABLE %s OWNER TO %I', relation.name, ${quoteLiteral(owner)});
          PERFORM FROM pg_class WHERE oid = relation.oid AND relowner = ${quoteLiteral(quoteIdentifier(owner))}::regrole;
          IF NOT FOUND THEN RAISE EXCEPTION 'The relation has changed.' USING ERRCODE = '55P03'; END IF;
          moved := moved + 1;
        END LOOP;
        COMMIT;
        EXIT WHEN moved < ${BATCH};
      END LOOP;
    END`)}`
  )
  await tenant.query(`REASSIGN OWNED BY ${quoteIdentifier(role)} TO ${quoteIdentifier(owner)}`)
}
