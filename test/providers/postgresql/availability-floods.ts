import type { AvailabilityAttack, AvailabilityTargets, SocketFlood } from './availability.ts'
import type { Script } from './hostile-session.ts'

/** Fewer than one host may open: an unlimited number is for a firewall to refuse. */
const SOCKETS = 20

/** What fills something that all tenants share. */
export function floods({ victimDatabase, stateDatabase }: AvailabilityTargets): AvailabilityAttack[] {
  return [...lockTable(), ...connections([victimDatabase, stateDatabase]), ...queues(), ...work()]
}

function lockTable(): AvailabilityAttack[] {
  const advisory = (count: number, lock = 'pg_advisory_lock') =>
    `SELECT count(${lock}(g)) FROM generate_series(1, ${count}) AS g`
  const views = `DO $$ BEGIN FOR i IN 1..8000 LOOP EXECUTE format('CREATE VIEW v%s AS SELECT 1', i); END LOOP; END $$`
  return [
    { name: 'a lock table full of advisory locks', scripts: [{ as: 'login', steps: [advisory(200_000)] }] },
    {
      name: 'a lock table full of advisory locks of a reader',
      scripts: [{ as: 'reader', steps: [advisory(200_000)] }]
    },
    {
      name: 'a lock table full of many sessions’ advisory locks',
      scripts: [
        {
          as: 'owner',
          steps: [`SELECT count(pg_advisory_lock(pg_backend_pid(), g)) FROM generate_series(1, 2000) AS g`],
          count: 8
        }
      ]
    },
    {
      name: 'advisory locks, one after another',
      scripts: [
        { as: 'login', steps: [`DO $$ BEGIN FOR i IN 1..200000 LOOP PERFORM pg_advisory_lock(i); END LOOP; END $$`] }
      ]
    },
    { name: 'a lock table full of new views', scripts: [{ as: 'owner', steps: ['BEGIN', views] }] },
    {
      name: 'prepared: a lock table full of advisory locks',
      prepared: true,
      scripts: [
        { as: 'login', steps: ['BEGIN', advisory(3000, 'pg_advisory_xact_lock'), `PREPARE TRANSACTION 'flood1'`] },
        {
          as: 'owner',
          steps: [
            'BEGIN',
            'SELECT count(pg_advisory_xact_lock(2, g)) FROM generate_series(1, 3000) AS g',
            `PREPARE TRANSACTION 'flood2'`
          ]
        }
      ]
    }
  ]
}

function connections(others: readonly string[]): AvailabilityAttack[] {
  const sockets = (how: SocketFlood['how']): AvailabilityAttack => ({
    name: `connections: ${how}`,
    scripts: [{ as: 'reader', steps: ['SELECT 1'] }],
    sockets: { count: SOCKETS, how }
  })
  return [
    {
      name: 'every connection of its bindings',
      scripts: [
        { as: 'owner', steps: ['SELECT 1'], count: 12 },
        { as: 'reader', steps: ['SELECT 1'], count: 12 }
      ]
    },
    {
      name: 'sessions that come and go',
      scripts: [
        { as: 'login', steps: ['SELECT pg_terminate_backend(pg_backend_pid())'], count: 3, end: 'again' },
        { as: 'reader', steps: ['SELECT pg_terminate_backend(pg_backend_pid())'], count: 3, end: 'again' }
      ]
    },
    {
      name: 'logins to databases of others',
      scripts: others.map((database): Script => ({ as: 'owner', steps: ['SELECT 1'], database, count: 3 })),
      refused: true
    },
    {
      name: 'logins with a wrong password',
      scripts: [{ as: 'owner', steps: ['SELECT 1'], password: 'wrong', count: 5 }],
      refused: true
    },
    {
      name: 'replication connections',
      scripts: [{ as: 'login', steps: ['SELECT 1'], replication: true, count: 5 }],
      refused: true
    },
    sockets('silent'),
    sockets('half a startup'),
    sockets('half a login'),
    sockets('cancel'),
    sockets('garbage')
  ]
}

function queues(): AvailabilityAttack[] {
  const notify = `SELECT count(pg_notify('c' || g % 50, repeat('x', 7900) || g)) FROM generate_series(1, 200) AS g`
  return [
    {
      name: 'a queue of notifications that a listener keeps',
      scripts: [
        { as: 'login', steps: ['LISTEN c1', 'BEGIN', 'SELECT 1'] },
        { as: 'owner', steps: [notify], count: 2, end: 'again' }
      ]
    },
    { name: 'notifications, one commit each', scripts: [{ as: 'owner', steps: ['NOTIFY c'], count: 3, end: 'again' }] },
    {
      name: 'an old snapshot',
      scripts: [{ as: 'reader', steps: ['BEGIN ISOLATION LEVEL REPEATABLE READ', 'SELECT count(*) FROM pg_class'] }]
    },
    {
      name: 'serializable transactions that stay',
      scripts: [
        { as: 'owner', steps: ['BEGIN ISOLATION LEVEL SERIALIZABLE', 'SELECT count(*) FROM pg_class'], count: 4 }
      ]
    }
  ]
}

/** PostgreSQL shares CPU and disk among sessions; a few busy ones must not shut anybody out. */
function work(): AvailabilityAttack[] {
  return [
    {
      name: 'temporary files',
      scripts: [
        {
          as: 'reader',
          steps: [
            `SET work_mem = '64kB'`,
            'SELECT count(*) FROM (SELECT g FROM generate_series(1, 300000) AS g ORDER BY g DESC) AS s'
          ],
          end: 'again'
        }
      ]
    },
    {
      name: 'transactions that are rolled back',
      scripts: [
        {
          as: 'owner',
          steps: ['BEGIN', 'CREATE TABLE gone (id int)', 'ALTER ROLE CURRENT_USER RESET work_mem', 'ROLLBACK'],
          count: 2,
          end: 'again'
        }
      ]
    },
    {
      name: 'DDL all the time',
      scripts: [
        {
          as: 'owner',
          steps: ['CREATE TABLE IF NOT EXISTS churn (id int)', 'DROP TABLE churn'],
          count: 2,
          end: 'again'
        }
      ]
    },
    {
      name: 'passwords changed all the time',
      scripts: [
        {
          as: 'login',
          steps: [`ALTER ROLE CURRENT_USER SET work_mem = '5MB'`, 'ALTER ROLE CURRENT_USER RESET ALL'],
          count: 2,
          end: 'again'
        }
      ]
    },
    {
      name: 'tables of the whole schema locked and unlocked',
      setup: ['CREATE TABLE churn (id int)'],
      scripts: [{ as: 'owner', steps: ['BEGIN', 'LOCK TABLE churn', 'COMMIT'], count: 2, end: 'again' }]
    }
  ]
}
