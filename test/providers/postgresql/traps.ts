import assert from 'node:assert/strict'
import type { Client } from 'pg'

/* What a tenant can plant in its database to have its code run by others. */

/** A function of the tenant that ends the statement of every role outside of the broker, so that a dump that calls it fails. */
const CANARY = `
  CREATE FUNCTION public.canary() RETURNS boolean LANGUAGE plpgsql AS $body$
  BEGIN
    IF current_user !~ '^osb_' THEN RAISE EXCEPTION 'canary as %', current_user; END IF;
    RETURN true;
  END $body$;
  CREATE FUNCTION public.spy(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM public.canary(); RETURN $1; END';
  CREATE FUNCTION public.spy_text(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS 'BEGIN PERFORM public.canary(); RETURN $1; END'`

/** Everything that a tenant can hang a function on. */
const TRAPS = [
  `CREATE TABLE traps (id int DEFAULT public.spy(1), more int GENERATED ALWAYS AS (public.spy(id)) STORED,
     CHECK (public.spy(id) = id), body text)`,
  'CREATE INDEX ON traps (public.spy(id)) WHERE public.spy(7) = 7',
  'CREATE STATISTICS traps_stats ON (public.spy(id)), (public.spy(more)) FROM traps',
  'INSERT INTO traps (id) VALUES (1), (2)',
  'CREATE DOMAIN trapped_domain AS int DEFAULT public.spy(3) CHECK (public.spy(value) = value)',
  'CREATE TABLE with_domain (id trapped_domain); INSERT INTO with_domain VALUES (1)',
  'CREATE VIEW trap_view AS SELECT public.spy(id) AS id, public.canary() AS c FROM traps',
  'CREATE MATERIALIZED VIEW trap_rows AS SELECT public.spy(id) AS id FROM traps WITH NO DATA',
  'CREATE RULE trap_rule AS ON UPDATE TO traps DO ALSO SELECT public.canary()',
  'CREATE TABLE disguised (id int); INSERT INTO disguised VALUES (1)',
  `CREATE FUNCTION trap_trigger() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM public.canary(); RETURN NEW; END'`,
  'CREATE TRIGGER traps_trigger BEFORE INSERT OR UPDATE OR DELETE ON traps FOR EACH ROW EXECUTE FUNCTION trap_trigger()',
  'CREATE TABLE guarded (id int); INSERT INTO guarded VALUES (1); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY',
  'CREATE POLICY trap_policy ON guarded USING (public.canary())',
  'CREATE TABLE parted (id int) PARTITION BY RANGE (public.spy(id))',
  'CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (9); INSERT INTO parted VALUES (1)',
  `CREATE TYPE trap_range AS RANGE (subtype = int4); CREATE TYPE trap_enum AS ENUM ('a'); CREATE TYPE trap_pair AS (a int)`,
  'CREATE TABLE typed (r trap_range, e trap_enum, p trap_pair, v varchar(9)); INSERT INTO typed VALUES (NULL, NULL, NULL, NULL)',
  `CREATE FUNCTION pair_text(trap_pair) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM public.canary(); RETURN NULL; END'`,
  'CREATE CAST (trap_pair AS text) WITH FUNCTION pair_text(trap_pair) AS IMPLICIT',
  'CREATE EXTENSION pg_trgm; CREATE EXTENSION hstore',
  `SELECT lo_from_bytea(4711, 'large')`,
  `COMMENT ON TABLE traps IS E'harmless\\n\\\\! touch /tmp/never\\n'`,
  `CREATE TABLE "line\n\\! touch never\n" ("column\n\\! touch never" int)`,
  `CREATE SCHEMA "schema\n; DROP TABLE public.traps; --"`,
  'CREATE PUBLICATION trap_publication FOR TABLE traps WHERE (id > 0)',
  `ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC`,
  `GRANT SELECT ON traps TO PUBLIC`
]

/** Functions that pg_dump calls. Those of the tenant match their arguments better where types allow it. */
const CALLED: Record<string, string[]> = {
  format_type: ['oid, integer', 'oid, bigint'],
  pg_get_expr: ['pg_node_tree, oid', 'text, oid'],
  pg_get_viewdef: ['oid'],
  pg_get_indexdef: ['oid'],
  pg_get_constraintdef: ['oid'],
  pg_get_functiondef: ['oid'],
  pg_get_triggerdef: ['oid, boolean'],
  pg_get_function_arguments: ['oid'],
  pg_get_userbyid: ['oid'],
  array_to_string: ['anyarray, text', 'text[], text', 'aclitem[], text', 'name[], text'],
  array_agg: [],
  unnest: ['anyarray', 'text[]', 'oid[]', 'aclitem[]'],
  quote_ident: ['text', 'name'],
  quote_literal: ['text', 'name'],
  lower: ['text', 'name'],
  current_setting: ['text', 'name'],
  set_config: ['text, text, boolean'],
  current_schemas: ['boolean'],
  has_table_privilege: ['oid, text'],
  pg_encoding_to_char: ['integer'],
  pg_is_in_recovery: [''],
  coalesce_acl: [],
  acldefault: ['"char", oid'],
  aclexplode: ['aclitem[]'],
  pg_options_to_table: ['text[]'],
  generate_subscripts: ['anyarray, integer'],
  pg_relation_size: ['oid', 'regclass'],
  version: ['']
}

/** `=`, `<>`, `||`, `~` and `+` of types that pg_dump compares. */
const OPERATORS = [
  'name, name',
  'name, text',
  'oid, oid',
  'text, text',
  '"char", "char"',
  'name, unknown',
  'regclass, oid'
]

/** Plants all of it. */
export async function plant(tenant: Client): Promise<void> {
  await tenant.query(CANARY)
  for (const trap of TRAPS) await tenant.query(trap)
  let planted = 0
  for (const [name, signatures] of Object.entries(CALLED)) {
    for (const signature of signatures) {
      // Some signatures need a right, such as one with a pseudo-type
      const made = await tenant
        .query(
          `CREATE FUNCTION public.${name}(${signature}) RETURNS text LANGUAGE plpgsql
           AS 'BEGIN PERFORM public.canary(); RETURN NULL; END'`
        )
        .catch(() => undefined)
      if (made !== undefined) planted += 1
    }
  }
  for (const [index, types] of OPERATORS.entries()) {
    const [left = '', right = ''] = types.split(', ')
    await tenant
      .query(
        `CREATE FUNCTION public.compares${index}(${types}) RETURNS boolean LANGUAGE plpgsql
         AS 'BEGIN RETURN public.canary(); END'`
      )
      .catch(() => undefined)
    for (const operator of ['=', '<>', '~', '<', '||']) {
      const made = await tenant
        .query(
          `CREATE OPERATOR public.${operator} (LEFTARG = ${left}, RIGHTARG = ${right}, FUNCTION = public.compares${index})`
        )
        .catch(() => undefined)
      if (made !== undefined) planted += 1
    }
  }
  assert.ok(planted > 40, `only ${planted} functions and operators are in the way`)
}
