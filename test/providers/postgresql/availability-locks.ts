import type { AvailabilityAttack, AvailabilityTargets } from './availability.ts'
import type { HostileRole, Script, Step } from './hostile-session.ts'

const everyRole: readonly HostileRole[] = ['owner', 'login', 'reader']

/** Sessions and prepared transactions that keep what others need. */
export function holders(targets: AvailabilityTargets): AvailabilityAttack[] {
  return [...ownRows(targets), ...stubborn(), ...prepared(targets)]
}

/**
 * Statements that wait for a lock on a database. PostgreSQL takes it before it looks at permissions: a statement that would be
 * refused waits for its lock first, and everything that comes later queues behind it.
 */
export function databaseQueues({ database, victimDatabase, stateDatabase, maintenanceDatabase }: AvailabilityTargets) {
  const databases = {
    'another tenant': victimDatabase,
    'the broker': stateDatabase,
    'the admin': maintenanceDatabase,
    'a template': 'template0',
    'its own': database
  }
  return [
    ...Object.entries(databases).map(([whose, name]) =>
      queue(`DROP DATABASE behind a setting for the database of ${whose}`, settingFor(name), `DROP DATABASE ${name}`)
    ),
    queue('ALTER DATABASE RENAME', settingFor(victimDatabase), `ALTER DATABASE ${victimDatabase} RENAME TO x`),
    queue(
      'ALTER DATABASE SET TABLESPACE',
      settingFor(victimDatabase),
      `ALTER DATABASE ${victimDatabase} SET TABLESPACE pg_default`
    ),
    queue('ALTER DATABASE RENAME of a template', settingFor('template0'), 'ALTER DATABASE template0 RENAME TO x'),
    hold('a setting for another database', [settingFor(victimDatabase)]),
    hold('a setting for a template', [settingFor('template0')])
  ]
}

function settingFor(database: string): string {
  return `ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`
}

/** The same with shared catalogs. An open transaction that has read a catalog is enough to wait for. */
export function catalogQueues(): AvailabilityAttack[] {
  const read = 'SELECT FROM pg_roles, pg_database, pg_db_role_setting, pg_auth_members, pg_shdepend LIMIT 1'
  const trigger = (catalog: string) =>
    `CREATE TRIGGER t BEFORE INSERT ON pg_catalog.${catalog} EXECUTE FUNCTION suppress_redundant_updates_trigger()`
  const foreignKey = (catalog: string) => `CREATE TABLE keyed (a oid REFERENCES pg_catalog.${catalog})`
  const waiting = (catalog: string, index: string) => ({
    [`CREATE RULE on ${catalog}`]: `CREATE RULE r AS ON INSERT TO pg_catalog.${catalog} DO NOTHING`,
    [`CREATE TABLE PARTITION OF ${catalog}`]: `CREATE TABLE part PARTITION OF pg_catalog.${catalog} FOR VALUES IN (1)`,
    [`ATTACH PARTITION ${catalog}`]: `ALTER TABLE parted ATTACH PARTITION pg_catalog.${catalog} FOR VALUES IN (1)`,
    [`DEPENDS ON EXTENSION of an index of ${catalog}`]: `ALTER INDEX pg_catalog.${index} DEPENDS ON EXTENSION plpgsql`
  })
  const queues = {
    ...waiting('pg_authid', 'pg_authid_rolname_index'),
    // These wait for a transaction that has written, and no statement of a tenant keeps such a lock on pg_database.
    'CREATE TRIGGER on pg_authid': trigger('pg_authid'),
    'a foreign key to pg_authid': foreignKey('pg_authid'),
    ...waiting('pg_database', 'pg_database_datname_index'),
    'CREATE RULE on pg_auth_members': 'CREATE RULE r AS ON INSERT TO pg_catalog.pg_auth_members DO NOTHING',
    'CREATE RULE on pg_db_role_setting': 'CREATE RULE r AS ON INSERT TO pg_catalog.pg_db_role_setting DO NOTHING',
    'CREATE RULE on pg_shdepend': 'CREATE RULE r AS ON INSERT TO pg_catalog.pg_shdepend DO NOTHING',
    'CREATE RULE on pg_class': 'CREATE RULE r AS ON INSERT TO pg_catalog.pg_class DO NOTHING'
  }
  const setup = ['CREATE TABLE parted (a int) PARTITION BY LIST (a)']
  const password = `ALTER ROLE CURRENT_USER PASSWORD 'x'`
  return [
    ...Object.entries(queues).map(([name, statement]) => ({
      ...queue(`${name} behind an open transaction`, read, statement, [password, 'SELECT FROM pg_class LIMIT 1']),
      setup
    })),
    hold('DROP SUBSCRIPTION IF EXISTS', ['DROP SUBSCRIPTION IF EXISTS nothing']),
    hold('catalogs read', [read]),
    hold('LOCK TABLE of a catalog in the weakest mode', ['LOCK TABLE pg_catalog.pg_database IN ACCESS SHARE MODE']),
    refusals('maintenance of catalogs', [
      'LOCK TABLE pg_catalog.pg_authid',
      'CREATE INDEX ON pg_catalog.pg_database (oid)',
      'REINDEX TABLE pg_catalog.pg_authid',
      'CLUSTER pg_catalog.pg_database USING pg_database_oid_index',
      'TRUNCATE pg_catalog.pg_shdepend',
      'ALTER TABLE pg_catalog.pg_authid ADD COLUMN x int',
      'DROP TABLE pg_catalog.pg_database',
      'CREATE POLICY p ON pg_catalog.pg_authid',
      trigger('pg_database'),
      foreignKey('pg_database')
    ])
  ]
}

/** Rows of shared catalogs that a tenant may change, and that the broker must change too. */
function ownRows({ database }: AvailabilityTargets): AvailabilityAttack[] {
  return [
    hold('its own password changed', [`ALTER ROLE CURRENT_USER PASSWORD 'x'`]),
    hold('the owner’s password changed', [`ALTER ROLE CURRENT_USER PASSWORD 'x'`], ['owner']),
    hold('a setting of its own role', [`ALTER ROLE CURRENT_USER SET work_mem = '5MB'`]),
    hold('a setting in its own database', [settingFor(database)]),
    hold('its settings reset', ['ALTER ROLE CURRENT_USER RESET ALL']),
    hold('GRANT on its database, which only warns', [`GRANT CONNECT ON DATABASE ${database} TO CURRENT_USER`]),
    hold('REVOKE on its database, which only warns', [`REVOKE TEMPORARY ON DATABASE ${database} FROM CURRENT_USER`]),
    hold('DROP OWNED BY itself', ['DROP OWNED BY CURRENT_USER'], ['owner', 'login']),
    hold('REASSIGN OWNED to itself', ['REASSIGN OWNED BY CURRENT_USER TO CURRENT_USER'], ['owner', 'login'])
  ]
}

/** Sends rows as they are made. */
const ENDLESS = `SELECT repeat('x', 8000), generate_series(1, 100000000)`

/** Sessions that are hard to end, with a lock that the broker needs. */
function stubborn(): AvailabilityAttack[] {
  const password = `ALTER ROLE CURRENT_USER PASSWORD 'x'`
  const sticky = (name: string, ...steps: Step[]): AvailabilityAttack => ({
    name,
    scripts: everyRole.map((as) => ({ as, steps: ['BEGIN', password, ...steps] }))
  })
  return [
    sticky('a statement that sleeps', 'SELECT pg_sleep(900)'),
    sticky(
      'a loop that catches its cancellation',
      `DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled OR OTHERS THEN NULL; END; END LOOP; END $$`
    ),
    sticky(
      'a recursion that catches every error',
      `DO $$ BEGIN FOR i IN 1..1000000000 LOOP
         BEGIN PERFORM 1 / 0; EXCEPTION WHEN OTHERS OR query_canceled OR assert_failure THEN PERFORM pg_sleep(0.01); END;
       END LOOP; END $$`
    ),
    sticky('a result that is not read', {
      how: 'unread',
      sql: ENDLESS
    }),
    // PostgreSQL handles no barrier of DROP DATABASE while it waits for a client within a statement.
    {
      name: 'results that are not read, and no locks',
      scripts: everyRole.map((as) => ({ as, steps: [{ how: 'unread', sql: ENDLESS }] }))
    },
    {
      name: 'a COPY without data, and no locks',
      scripts: [
        {
          as: 'owner',
          steps: ['CREATE TABLE IF NOT EXISTS c (l text)', { how: 'copy', sql: 'COPY c FROM STDIN' }],
          count: 2
        }
      ]
    },
    {
      name: 'a COPY without data',
      // A reader has no table that it may copy to.
      scripts: (['owner', 'login'] as const).map((as) => ({
        as,
        steps: [
          'CREATE TEMPORARY TABLE IF NOT EXISTS c (l text)',
          'BEGIN',
          password,
          { how: 'copy', sql: 'COPY c FROM STDIN' }
        ]
      }))
    },
    {
      name: 'a pipeline without its Sync',
      scripts: everyRole.map((as) => ({ as, steps: [{ how: 'unsynced', sql: password }] }))
    },
    sticky('a long step between interrupts', `SELECT md5(repeat('x', 300000000))`, 'SELECT pg_sleep(900)'),
    sticky('a thousand subtransactions', ...Array.from({ length: 1000 }, (_, index) => `SAVEPOINT s${index}`))
  ]
}

/** Prepared transactions hold their locks without a session that could be ended. */
function prepared({ victimDatabase }: AvailabilityTargets): AvailabilityAttack[] {
  const prepare = (name: string, steps: readonly string[], others: readonly Script[] = []): AvailabilityAttack => ({
    name: `prepared: ${name}`,
    prepared: true,
    scripts: [{ as: 'login', steps: ['BEGIN', ...steps, `PREPARE TRANSACTION 'hostile'`] }, ...others]
  })
  // The login holds the lock, and the transaction belongs to a role that stays when the login is removed.
  const disguised = (name: string, as: HostileRole, letter: 'o' | 'r'): AvailabilityAttack => {
    const act = `SELECT set_config('role', 'osb_${letter}_' || substr(current_database(), 7, 20), false)`
    const steps = [
      'SET ROLE NONE',
      'BEGIN',
      `ALTER ROLE CURRENT_USER PASSWORD 'x'`,
      act,
      `PREPARE TRANSACTION 'hostile'`
    ]
    return { name: `prepared: ${name}`, prepared: true, scripts: [{ as, steps, end: 'again' }] }
  }
  const drop: Script = { as: 'owner', steps: [`DROP DATABASE ${victimDatabase}`], end: 'again' }
  return [
    prepare('its own password changed', [`ALTER ROLE CURRENT_USER PASSWORD 'x'`]),
    prepare('a setting for another database', [settingFor(victimDatabase)]),
    prepare('DROP DATABASE behind a setting for another database', [settingFor(victimDatabase)], [drop]),
    prepare('DROP SUBSCRIPTION IF EXISTS', ['DROP SUBSCRIPTION IF EXISTS nothing']),
    prepare('locks of its own', ['SELECT count(pg_advisory_xact_lock(g)) FROM generate_series(1, 2000) AS g']),
    disguised('as the reader', 'reader', 'r'),
    disguised('as the owner through SET ROLE', 'login', 'o')
  ]
}

/** One session holds, and another waits for more, with everybody behind it. */
function queue(name: string, held: string, waiting: string, alsoHeld: readonly string[] = []): AvailabilityAttack {
  return {
    name,
    scripts: [
      { as: 'login', steps: ['BEGIN', held, ...alsoHeld] },
      { as: 'owner', steps: [waiting], end: 'again', count: 2 }
    ]
  }
}

function hold(name: string, held: readonly string[], roles: readonly HostileRole[] = everyRole): AvailabilityAttack {
  return { name: `held open: ${name}`, scripts: roles.map((as): Script => ({ as, steps: ['BEGIN', ...held] })) }
}

function refusals(name: string, statements: readonly string[]): AvailabilityAttack {
  return {
    name,
    refused: true,
    scripts: statements.map((sql) => ({ as: 'owner', steps: ['BEGIN', sql], end: 'again' }))
  }
}
