import type { AvailabilityAttack, AvailabilityTargets } from './availability.ts'
import type { Script } from './hostile-session.ts'

/** More than the lock table of a server with default settings has room for. */
const MANY_OBJECTS = 6_000
const MANY_LARGE_OBJECTS = 20_000

/** Rights, objects and settings that stand in the way when a role or a database is removed. */
export function removals(targets: AvailabilityTargets): AvailabilityAttack[] {
  return [...openGrants(), ...lockedGrants(), ...objects(targets), ...settings()]
}

const rights = {
  'a table': 'GRANT SELECT ON bait TO %I',
  'a column': 'GRANT UPDATE (id) ON bait TO %I',
  'a sequence': 'GRANT USAGE ON SEQUENCE bait_id_seq TO %I',
  'a function': 'GRANT EXECUTE ON FUNCTION bait() TO %I',
  'a type': 'GRANT USAGE ON TYPE bait_type TO %I',
  'a schema': 'GRANT USAGE ON SCHEMA public TO %I',
  'a large object': 'GRANT SELECT ON LARGE OBJECT 4711 TO %I',
  'future tables': 'ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO %I',
  'rows by a policy': 'CREATE POLICY %1$I ON bait TO %1$I'
}

const bait = [
  'CREATE TABLE bait (id serial)',
  `CREATE FUNCTION bait() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
  'CREATE DOMAIN bait_type AS int',
  'SELECT lo_create(4711)'
]

/** For every role of the broker that a tenant can see. */
function toEverybody(statement: string): string {
  return `DO $do$ DECLARE name text; BEGIN
    FOR name IN SELECT rolname FROM pg_roles WHERE rolname ~ '^osb_[orb]_' LOOP
      BEGIN EXECUTE format($f$${statement}$f$, name); EXCEPTION WHEN undefined_object OR duplicate_object THEN NULL; END;
    END LOOP; END $do$`
}

/** Each records a dependency, whose lock on the role stays until the transaction ends. */
function openGrants(): AvailabilityAttack[] {
  return Object.entries(rights).map(([what, statement]) => ({
    name: `rights to everybody, held open: ${what}`,
    setup: bait,
    scripts: [{ as: 'owner', steps: ['BEGIN', toEverybody(statement)] }]
  }))
}

/** The rights are committed, and what they are about is locked: to take them away takes the same lock. */
function lockedGrants(): AvailabilityAttack[] {
  const lock: Script = { as: 'owner', steps: ['BEGIN', 'LOCK TABLE bait IN ACCESS EXCLUSIVE MODE'] }
  const rows: Script = {
    as: 'owner',
    steps: ['BEGIN', "SELECT lo_put(4711, 0, 'x')", `GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC`]
  }
  const again: Script = {
    as: 'owner',
    steps: ['GRANT SELECT ON bait TO PUBLIC', 'REVOKE SELECT ON bait FROM PUBLIC'],
    end: 'again'
  }
  return [
    {
      name: 'rights to everybody, and the table locked',
      setup: [...bait, toEverybody(rights['a table'])],
      scripts: [lock]
    },
    {
      name: 'policies for everybody, and the table locked',
      setup: [...bait, toEverybody(rights['rows by a policy'])],
      scripts: [lock]
    },
    {
      name: 'a large object for everybody, and its row locked',
      setup: [...bait, toEverybody(rights['a large object'])],
      scripts: [rows]
    },
    {
      name: 'rights to everybody, given and taken all the time',
      setup: [...bait, toEverybody(rights['a table'])],
      scripts: [again, again]
    },
    {
      name: 'rights to everybody from each role of the attacker',
      setup: bait,
      scripts: [
        {
          as: 'login',
          steps: [
            'CREATE SCHEMA IF NOT EXISTS own',
            'CREATE TABLE IF NOT EXISTS own.bait (id int)',
            toEverybody('GRANT SELECT ON own.bait TO %I'),
            toEverybody('ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO %I')
          ]
        }
      ]
    }
  ]
}

function objects({ victimLogin, victimOwner, victimReader }: AvailabilityTargets): AvailabilityAttack[] {
  const names = [
    '"; DROP ROLE osb_tenant; --"',
    '"%s %I"',
    '"a""b"',
    `"\u202e${'ü'.repeat(25)}"`,
    '"line\nbreak"',
    '"$1"'
  ]
  const hostileNames = names.flatMap((name) => [
    `CREATE TABLE ${name} (id int)`,
    `CREATE FUNCTION ${name}() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
    `CREATE DOMAIN ${name.replace(/"$/, ' d"')} AS int`,
    `CREATE SCHEMA ${name}`
  ])
  const victims = [victimLogin, victimOwner, victimReader]
  return [
    {
      name: 'more objects of a login than there are locks',
      scripts: [
        {
          as: 'login',
          steps: [
            'DROP SCHEMA IF EXISTS own CASCADE',
            'CREATE SCHEMA own',
            `DO $$ BEGIN FOR i IN 1..${MANY_OBJECTS} LOOP
               EXECUTE format('CREATE VIEW own.v%s AS SELECT 1', i); IF i % 500 = 0 THEN COMMIT; END IF;
             END LOOP; END $$`
          ]
        }
      ]
    },
    {
      name: 'large objects for another tenant',
      setup: [
        `SELECT count(lo_create(g)) FROM generate_series(1, ${MANY_LARGE_OBJECTS}) AS g`,
        ...victims.map(
          (role) =>
            `DO $$ BEGIN FOR i IN 1..200 LOOP EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO ${role}', i); END LOOP; END $$`
        )
      ],
      scripts: [{ as: 'login', steps: ['SELECT 1'] }]
    },
    { name: 'names that break statements', setup: hostileNames, scripts: [{ as: 'login', steps: ['SELECT 1'] }] },
    {
      name: 'its own schema and rights thrown away',
      scripts: [{ as: 'owner', steps: ['DROP SCHEMA IF EXISTS public CASCADE', 'DROP OWNED BY CURRENT_USER'] }]
    },
    {
      name: 'tables of a login locked while it is removed',
      setup: ['CREATE TABLE bait (id int)'],
      scripts: [
        {
          as: 'login',
          steps: [
            'CREATE SCHEMA IF NOT EXISTS own',
            'CREATE TABLE IF NOT EXISTS own.bait (id int)',
            'GRANT ALL ON SCHEMA own TO PUBLIC'
          ]
        },
        { as: 'reader', steps: ['BEGIN', 'SELECT count(*) FROM bait, own.bait'] }
      ]
    },
    {
      name: 'range types, whose functions belong to the superuser',
      scripts: [
        {
          as: 'owner',
          steps: [
            `DO $$ BEGIN FOR i IN 1..120 LOOP
               EXECUTE format('CREATE TYPE r%s AS RANGE (subtype = int4)', i); END LOOP;
               CREATE TYPE similarity AS RANGE (subtype = text); END $$`,
            'DROP TYPE similarity',
            'CREATE EXTENSION IF NOT EXISTS pg_trgm',
            'DROP EXTENSION pg_trgm',
            `DO $$ BEGIN FOR i IN 1..120 LOOP EXECUTE format('DROP TYPE r%s', i); END LOOP; END $$`
          ],
          end: 'again'
        }
      ]
    }
  ]
}

/** Text of any length that the broker may have to read. */
function settings(): AvailabilityAttack[] {
  const megabytes = (statement: string) =>
    `DO $$ BEGIN EXECUTE format('${statement}', repeat('x', 16 * 1024 * 1024)); END $$`
  return [
    {
      name: 'a setting of 16 MB',
      scripts: [{ as: 'login', steps: [megabytes('ALTER ROLE CURRENT_USER SET application_name = %L')] }]
    },
    {
      name: 'a setting of 16 MB of the owner',
      scripts: [{ as: 'owner', steps: [megabytes('ALTER ROLE CURRENT_USER SET application_name = %L')] }]
    },
    {
      name: 'settings for every database',
      scripts: [
        {
          as: 'login',
          steps: [
            `DO $do$ DECLARE name text; BEGIN FOR name IN SELECT datname FROM pg_database LOOP
               EXECUTE format($f$ALTER ROLE CURRENT_USER IN DATABASE %I SET work_mem = '5MB'$f$, name);
             END LOOP; END $do$`
          ]
        }
      ]
    },
    {
      name: 'comments of 16 MB',
      setup: ['CREATE TABLE bait (id int)'],
      scripts: [
        { as: 'owner', steps: [megabytes('COMMENT ON TABLE bait IS %L'), megabytes('COMMENT ON SCHEMA public IS %L')] }
      ]
    }
  ]
}
