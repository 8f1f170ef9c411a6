/*
 * SQL that decides which objects the repair hands over to the owner of an instance.
 *
 * PostgreSQL checks fewer rights when a superuser changes the owner of an object than when the tenant creates the object. So
 * the repair hands over only objects that the tenant could have dropped and created itself: nothing of the server (members of
 * extensions, parts of other objects, functions of languages that only superusers may use), nothing that calls a function or
 * a foreign server that the tenant may not use, and nothing on which an object of another role depends. A function that a
 * superuser's event trigger or table calls would otherwise run the tenant's code as the superuser.
 */

/**
 * Objects in schema `public`, and in schemas of the owner, that belong to a role outside of the instance. Each row: `class`,
 * `oid`, `possessor` and `kind`, the word for ALTER. `tenant` has the `oid` of the owner's role.
 */
const OBJECTS = `
  SELECT 'pg_namespace'::regclass AS class, n.oid, n.nspowner AS possessor, 'SCHEMA' AS kind
  FROM pg_namespace AS n WHERE n.nspname = 'public'
  UNION ALL
  SELECT 'pg_class'::regclass, c.oid, c.relowner,
         CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
              WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END
  FROM pg_class AS c JOIN theirs ON theirs.oid = c.relnamespace, tenant
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    -- The sequence of a column goes with its table.
    AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_class'::regclass
                                         AND d.objid = c.oid AND d.deptype = 'a'))
    AND NOT EXISTS (SELECT FROM pg_foreign_table AS f
                    WHERE f.ftrelid = c.oid AND NOT has_server_privilege(tenant.oid, f.ftserver, 'USAGE'))
    -- The rows of a materialized view were read with the rights of its owner.
    AND NOT (c.relkind = 'm' AND EXISTS (
      SELECT FROM pg_rewrite AS w JOIN pg_depend AS d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
      WHERE w.ev_class = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> c.oid
        AND has_table_privilege(tenant.oid, d.refobjid, 'SELECT') IS NOT TRUE))
    -- Triggers call their functions without a check of rights, and other parts without a check of the schema.
    AND NOT EXISTS (
      SELECT FROM pg_depend AS part
      JOIN pg_depend AS call ON call.classid = part.classid AND call.objid = part.objid AND call.refclassid = 'pg_proc'::regclass
      JOIN pg_proc AS p ON p.oid = call.refobjid
      WHERE part.refclassid = 'pg_class'::regclass AND part.refobjid = c.oid
        AND (p.prosecdef AND p.proowner <> tenant.oid OR NOT has_function_privilege(tenant.oid, p.oid, 'EXECUTE')))
  UNION ALL
  SELECT 'pg_proc'::regclass, p.oid, p.proowner, 'ROUTINE'
  FROM pg_proc AS p JOIN theirs ON theirs.oid = p.pronamespace JOIN pg_language AS l ON l.oid = p.prolang, tenant
  WHERE l.lanpltrusted AND has_language_privilege(tenant.oid, l.oid, 'USAGE')
    AND NOT p.proleakproof AND p.prosupport = 0 AND p.prorettype <> 'event_trigger'::regtype
  UNION ALL
  SELECT 'pg_type'::regclass, t.oid, t.typowner, CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END
  FROM pg_type AS t JOIN theirs ON theirs.oid = t.typnamespace
  WHERE t.typtype IN ('e', 'd', 'r')
     OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_class AS c WHERE c.oid = t.typrelid AND c.relkind = 'c')`

/** Whether the object `o` is neither a member of an extension nor a part of another object. */
const ALONE = `NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = o.class AND d.objid = o.oid
                           AND d.deptype IN ('e', 'i', 'P', 'S'))`

/** Whether all objects that depend on the object `o`, and are not dropped with it, belong to the owner. */
const UNUSED_BY_OTHERS = `NOT EXISTS (
  SELECT FROM pg_depend AS d
  LEFT JOIN pg_class AS r ON r.oid = CASE d.classid
    WHEN 'pg_class'::regclass THEN coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = d.objid), d.objid)
    WHEN 'pg_attrdef'::regclass THEN (SELECT adrelid FROM pg_attrdef WHERE oid = d.objid)
    WHEN 'pg_constraint'::regclass THEN (SELECT conrelid FROM pg_constraint WHERE oid = d.objid)
    WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = d.objid)
    WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = d.objid)
    WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = d.objid)
  END
  WHERE d.refclassid = o.class AND d.refobjid = o.oid AND d.deptype = 'n'
    AND NOT coalesce(
      r.relowner = tenant.oid OR (o.class = 'pg_class'::regclass AND r.oid = o.oid),
      CASE d.classid
        WHEN 'pg_proc'::regclass THEN (SELECT proowner = tenant.oid FROM pg_proc WHERE oid = d.objid)
        WHEN 'pg_type'::regclass THEN (SELECT typowner = tenant.oid FROM pg_type WHERE oid = d.objid)
        WHEN 'pg_constraint'::regclass
          THEN (SELECT t.typowner = tenant.oid FROM pg_constraint AS c JOIN pg_type AS t ON t.oid = c.contypid
                WHERE c.oid = d.objid)
      END, false))`

/**
 * A query for candidates, as `class`, `oid`, `kind` and `possessor`.
 * @param owner The owner's role, as an SQL expression.
 * @param condition Further condition on the object `o`; `tenant.oid` is the owner.
 */
export function candidates(owner: string, condition: string): string {
  return `
    WITH tenant AS (SELECT oid FROM pg_roles WHERE rolname = ${owner}),
    theirs AS (SELECT n.oid FROM pg_namespace AS n, tenant WHERE n.nspowner = tenant.oid OR n.nspname = 'public'),
    objects AS (${OBJECTS})
    SELECT o.class, o.oid, o.kind, o.possessor FROM objects AS o, tenant
    WHERE ${condition} AND ${ALONE} AND (o.kind = 'SCHEMA' OR ${UNUSED_BY_OTHERS})`
}
