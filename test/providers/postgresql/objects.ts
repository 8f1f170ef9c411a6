/** A kind of object that a tenant can make. */
export interface ObjectKind {
  readonly kind: string
  readonly create: string
  /** What only its owner may do. */
  readonly alter: string
  readonly drop: string
}

/** Every kind that PostgreSQL lets somebody make who is no superuser. */
export const objectKinds: readonly ObjectKind[] = [
  of('table', 'CREATE TABLE t (id int PRIMARY KEY, body text)', 'ALTER TABLE t ADD COLUMN more int', 'DROP TABLE t'),
  of('unlogged table', 'CREATE UNLOGGED TABLE u (id int)', 'ALTER TABLE u SET LOGGED', 'DROP TABLE u'),
  of(
    'partitioned table',
    'CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9)',
    'ALTER TABLE p DETACH PARTITION p1',
    'DROP TABLE p; DROP TABLE p1'
  ),
  of(
    'identity',
    'CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY)',
    'ALTER TABLE i ALTER id RESTART',
    'DROP TABLE i'
  ),
  of('serial', 'CREATE TABLE s (id serial)', 'ALTER SEQUENCE s_id_seq INCREMENT 2', 'DROP TABLE s'),
  of(
    'index',
    'CREATE TABLE x (id int); CREATE INDEX xi ON x (id)',
    'ALTER INDEX xi RENAME TO xj',
    'DROP INDEX xj; DROP TABLE x'
  ),
  of('view', 'CREATE VIEW v AS SELECT 1 AS one', 'ALTER VIEW v RENAME COLUMN one TO two', 'DROP VIEW v'),
  of(
    'materialized view',
    'CREATE MATERIALIZED VIEW m AS SELECT 1 AS one',
    'REFRESH MATERIALIZED VIEW m',
    'DROP MATERIALIZED VIEW m'
  ),
  of('sequence', 'CREATE SEQUENCE q', 'ALTER SEQUENCE q INCREMENT 5', 'DROP SEQUENCE q'),
  of(
    'function',
    `CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
    'ALTER FUNCTION f() STABLE',
    'DROP FUNCTION f()'
  ),
  of(
    'procedure',
    `CREATE PROCEDURE pr() LANGUAGE sql AS 'SELECT 1'`,
    'ALTER PROCEDURE pr() SECURITY DEFINER',
    'DROP PROCEDURE pr()'
  ),
  of(
    'aggregate',
    'CREATE AGGREGATE ag (int) (SFUNC = int4pl, STYPE = int)',
    'ALTER AGGREGATE ag (int) RENAME TO ah',
    'DROP AGGREGATE ah (int)'
  ),
  of(
    'trigger',
    `CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
     CREATE TABLE tt (id int); CREATE TRIGGER tr BEFORE INSERT ON tt FOR EACH ROW EXECUTE FUNCTION tf()`,
    'ALTER TABLE tt DISABLE TRIGGER tr',
    'DROP TRIGGER tr ON tt; DROP TABLE tt; DROP FUNCTION tf()'
  ),
  of(
    'rule',
    'CREATE TABLE rt (id int); CREATE RULE r AS ON DELETE TO rt DO INSTEAD NOTHING',
    'ALTER RULE r ON rt RENAME TO r2',
    'DROP RULE r2 ON rt; DROP TABLE rt'
  ),
  of(
    'policy',
    'CREATE TABLE pt (id int); CREATE POLICY po ON pt USING (true)',
    'ALTER POLICY po ON pt USING (false)',
    'DROP POLICY po ON pt; DROP TABLE pt'
  ),
  of('domain', 'CREATE DOMAIN d AS int', 'ALTER DOMAIN d SET DEFAULT 7', 'DROP DOMAIN d'),
  of('enum type', `CREATE TYPE e AS ENUM ('a')`, `ALTER TYPE e ADD VALUE 'b'`, 'DROP TYPE e'),
  of('composite type', 'CREATE TYPE c AS (a int)', 'ALTER TYPE c ADD ATTRIBUTE b int', 'DROP TYPE c'),
  of('range type', 'CREATE TYPE ra AS RANGE (subtype = int4)', 'ALTER TYPE ra RENAME TO rb', 'DROP TYPE rb'),
  of('collation', `CREATE COLLATION co (locale = 'C')`, 'ALTER COLLATION co RENAME TO cp', 'DROP COLLATION cp'),
  of(
    'conversion',
    `CREATE CONVERSION cv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8`,
    'ALTER CONVERSION cv RENAME TO cw',
    'DROP CONVERSION cw'
  ),
  of(
    'operator',
    'CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)',
    'ALTER OPERATOR === (int, int) SET (RESTRICT = eqsel)',
    'DROP OPERATOR === (int, int)'
  ),
  of(
    'text search dictionary',
    'CREATE TEXT SEARCH DICTIONARY td (TEMPLATE = simple)',
    'ALTER TEXT SEARCH DICTIONARY td RENAME TO te',
    'DROP TEXT SEARCH DICTIONARY te'
  ),
  of(
    'text search configuration',
    'CREATE TEXT SEARCH CONFIGURATION tc (COPY = simple)',
    'ALTER TEXT SEARCH CONFIGURATION tc RENAME TO tg',
    'DROP TEXT SEARCH CONFIGURATION tg'
  ),
  of(
    'statistics',
    'CREATE TABLE st (a int, b int); CREATE STATISTICS ss ON a, b FROM st',
    'ALTER STATISTICS ss SET STATISTICS 50',
    'DROP STATISTICS ss; DROP TABLE st'
  ),
  of(
    'schema',
    'CREATE SCHEMA sc; CREATE TABLE sc.inside (id int)',
    'ALTER SCHEMA sc RENAME TO sd',
    'DROP SCHEMA sd CASCADE'
  ),
  of(
    'trusted extension',
    'CREATE EXTENSION hstore',
    'ALTER EXTENSION hstore SET SCHEMA public',
    'DROP EXTENSION hstore'
  ),
  of('large object', 'SELECT lo_create(4711)', `SELECT lo_put(4711, 0, 'x')`, 'SELECT lo_unlink(4711)'),
  of(
    'publication',
    'CREATE TABLE pb (id int); CREATE PUBLICATION pu FOR TABLE pb',
    `ALTER PUBLICATION pu SET (publish = 'insert')`,
    'DROP PUBLICATION pu; DROP TABLE pb'
  ),
  of(
    'cast',
    'CREATE TYPE ct AS (a int); CREATE CAST (ct AS text) WITH INOUT',
    'ALTER TYPE ct RENAME TO cu',
    'DROP CAST (cu AS text); DROP TYPE cu'
  ),
  of('comment', `CREATE TABLE cm (id int); COMMENT ON TABLE cm IS 'x'`, `COMMENT ON TABLE cm IS 'y'`, 'DROP TABLE cm'),
  of(
    'default',
    'CREATE TABLE df (id int DEFAULT 1, CHECK (id > 0))',
    'ALTER TABLE df ALTER id SET DEFAULT 2',
    'DROP TABLE df'
  ),
  of(
    'storage parameter',
    'CREATE TABLE sp (id int) WITH (fillfactor = 70)',
    'ALTER TABLE sp SET (fillfactor = 80); VACUUM sp',
    'DROP TABLE sp'
  )
]

/** What PostgreSQL lets superusers alone make, whoever owns the database. */
export const forbiddenKinds: Readonly<Record<string, string>> = {
  'operator class': 'CREATE OPERATOR CLASS oc FOR TYPE int USING btree AS OPERATOR 1 <',
  'operator family': 'CREATE OPERATOR FAMILY oy USING btree',
  'base type': 'CREATE TYPE bt (INPUT = int4in, OUTPUT = int4out)',
  'text search parser':
    'CREATE TEXT SEARCH PARSER tp (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)',
  'text search template': 'CREATE TEXT SEARCH TEMPLATE tl (LEXIZE = dsimple_lexize)',
  'foreign-data wrapper': 'CREATE FOREIGN DATA WRAPPER fw',
  'untrusted language': 'CREATE LANGUAGE plperlu',
  'access method': 'CREATE ACCESS METHOD am TYPE INDEX HANDLER bthandler',
  'event trigger': 'CREATE EVENT TRIGGER ev ON sql_drop EXECUTE FUNCTION nothing()',
  'publication of all tables': 'CREATE PUBLICATION pa FOR ALL TABLES'
}

function of(kind: string, create: string, alter: string, drop: string): ObjectKind {
  return { kind, create, alter, drop }
}
