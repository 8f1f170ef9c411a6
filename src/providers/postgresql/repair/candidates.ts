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
    AND NOT (c.relkind = 'm' AND EXISTS (SELECT FROM privileged_rows WHERE privileged_rows.oid = c.oid))
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
                           AND d.deptype IN ('e', 'i', 'P', 'S')
                           -- A partitioned table depends on its own columns.
                           AND (d.refclassid, d.refobjid) <> (d.classid, d.objid))`

/**
 * Materialized views whose rows the tenant could not have read. PostgreSQL does not record dependencies on system catalogs and
 * built-in functions, so the rule of each view that is read has to tell them.
 */
const PRIVILEGED_ROWS = `
  WITH RECURSIVE reads (oid, relation) AS (
    SELECT c.oid, c.oid FROM pg_class AS c JOIN theirs ON theirs.oid = c.relnamespace, tenant
    WHERE c.relkind = 'm' AND c.relowner <> tenant.oid
    UNION
    SELECT reads.oid, match[1]::oid FROM reads JOIN pg_rewrite AS w ON w.ev_class = reads.relation,
      regexp_matches(w.ev_action::text, ':relid ([0-9]+)', 'g') AS match
  )
  SELECT reads.oid FROM reads JOIN pg_class AS c ON c.oid = reads.relation
  WHERE c.relnamespace NOT IN (SELECT oid FROM theirs)
  UNION
  SELECT reads.oid FROM reads JOIN pg_rewrite AS w ON w.ev_class = reads.relation,
    regexp_matches(w.ev_action::text, ':[a-z]*(?:funcid|fnoid) ([0-9]+)', 'g') AS match
  JOIN pg_proc AS p ON p.oid = match[1]::oid, tenant
  WHERE p.prosecdef AND p.proowner <> tenant.oid OR NOT has_function_privilege(tenant.oid, p.oid, 'EXECUTE')`

/**
 * The holder of each object that depends on the object `o` and is not dropped with it, as `class` and `oid`: the relation of
 * a trigger, a default, a constraint, an index or a rule. Null for a kind that has no holder. Without parts of `o` itself.
 */
const HOLDERS = `
  SELECT holder.class, holder.oid
  FROM pg_depend AS d
  LEFT JOIN pg_constraint AS k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
  LEFT JOIN pg_class AS r ON r.oid = CASE d.classid
    WHEN 'pg_class'::regclass THEN coalesce((SELECT indrelid FROM pg_index WHERE indexrelid = d.objid), d.objid)
    WHEN 'pg_attrdef'::regclass THEN (SELECT adrelid FROM pg_attrdef WHERE oid = d.objid)
    WHEN 'pg_rewrite'::regclass THEN (SELECT ev_class FROM pg_rewrite WHERE oid = d.objid)
    WHEN 'pg_trigger'::regclass THEN (SELECT tgrelid FROM pg_trigger WHERE oid = d.objid)
    WHEN 'pg_policy'::regclass THEN (SELECT polrelid FROM pg_policy WHERE oid = d.objid)
    ELSE k.conrelid
  END
  CROSS JOIN LATERAL (
    SELECT CASE
      WHEN r.relkind = 'c' OR k.contypid <> 0 THEN 'pg_type'::regclass
      WHEN r.oid IS NOT NULL THEN 'pg_class'::regclass
      WHEN d.classid IN ('pg_proc'::regclass, 'pg_type'::regclass) THEN d.classid::regclass
    END AS class,
    CASE WHEN r.relkind = 'c' THEN r.reltype WHEN k.contypid <> 0 THEN k.contypid
         WHEN r.oid IS NOT NULL THEN r.oid ELSE d.objid END AS oid
  ) AS holder
  WHERE d.refclassid = o.class AND d.refobjid = o.oid AND d.deptype = 'n'
    AND (holder.class IS NULL OR (holder.class, holder.oid) <> (o.class, o.oid))
    -- The functions of a range type and of its multirange type are parts of it.
    AND NOT (d.classid = 'pg_proc'::regclass AND EXISTS (
      SELECT FROM pg_depend AS i
      WHERE i.classid = d.classid AND i.objid = d.objid AND i.deptype = 'i' AND i.refclassid = 'pg_type'::regclass
        AND (i.refobjid = o.oid OR EXISTS (
          SELECT FROM pg_depend AS m WHERE m.classid = i.refclassid AND m.objid = i.refobjid AND m.deptype = 'i'
            AND m.refclassid = o.class AND m.refobjid = o.oid))))`

/** Whether the holder `h` belongs to the owner. */
const HELD_BY_TENANT = `coalesce(CASE h.class
  WHEN 'pg_class'::regclass THEN (SELECT relowner = tenant.oid FROM pg_class WHERE oid = h.oid)
  WHEN 'pg_proc'::regclass THEN (SELECT proowner = tenant.oid FROM pg_proc WHERE oid = h.oid)
  WHEN 'pg_type'::regclass THEN (SELECT typowner = tenant.oid FROM pg_type WHERE oid = h.oid)
END, false)`

/** @param owner The owner's role, as an SQL expression. */
function common(owner: string): string {
  return `
    tenant AS (SELECT oid FROM pg_roles WHERE rolname = ${owner}),
    theirs AS (SELECT n.oid FROM pg_namespace AS n, tenant WHERE n.nspowner = tenant.oid OR n.nspname = 'public'),
    privileged_rows AS (${PRIVILEGED_ROWS}),
    objects AS (${OBJECTS})`
}

/**
 * A query for the objects that can be handed over, one after another: `class`, `oid`, `kind` and `possessor`.
 * @param owner The owner's role, as an SQL expression.
 */
export function candidates(owner: string): string {
  return `
    WITH RECURSIVE ${common(owner)},
    chosen AS MATERIALIZED (
      SELECT o.* FROM objects AS o, tenant WHERE o.possessor <> tenant.oid AND ${ALONE}
    ),
    held AS MATERIALIZED (
      SELECT o.class, o.oid, h.class AS holder_class, h.oid AS holder
      FROM chosen AS o, tenant, LATERAL (${HOLDERS}) AS h
      WHERE o.kind <> 'SCHEMA' AND NOT ${HELD_BY_TENANT}
    ),
    blocked (class, oid) AS (
      SELECT held.class, held.oid FROM held
      WHERE NOT EXISTS (SELECT FROM chosen AS c WHERE c.class = held.holder_class AND c.oid = held.holder)
      UNION
      SELECT held.class, held.oid FROM held JOIN blocked ON held.holder_class = blocked.class AND held.holder = blocked.oid
    )
    SELECT c.class, c.oid, c.kind, c.possessor FROM chosen AS c
    WHERE NOT EXISTS (SELECT FROM blocked WHERE blocked.class = c.class AND blocked.oid = c.oid)`
}

/**
 * A query for one object if it can be handed over now, as all objects that depend on it belong to the owner: `class`, `oid` and
 * `kind`.
 * @param condition on the object `o`; `tenant.oid` is the owner.
 */
export function candidate(owner: string, condition: string): string {
  return `
    WITH ${common(owner)}
    SELECT o.class, o.oid, o.kind FROM objects AS o, tenant
    WHERE ${condition} AND ${ALONE} AND (
      o.kind = 'SCHEMA' OR NOT EXISTS (SELECT FROM (${HOLDERS}) AS h WHERE NOT ${HELD_BY_TENANT}))`
}
