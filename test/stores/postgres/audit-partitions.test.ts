import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import pg from 'pg'
import { AuditReader, migrate, PostgresStore } from '../../../src/stores/postgres/index.ts'
import { readyInstance } from '../contract/opened.ts'
import { until } from '../records.ts'
import { freshDatabase, freshStore, newSealer } from './fresh-store.ts'
import { migrateTo } from './older-schema.ts'

const EVENTS = `INSERT INTO osb.audit_events (at, platform, action, phase, instance_id)
  SELECT now() - days * interval '1 day', 'cf', 'bind', 'started', 'i-' || n
  FROM unnest($1::numeric[]) WITH ORDINALITY AS age (days, n)`

async function partitions(pool: pg.Pool): Promise<string[]> {
  const { rows } = await pool.query<{ name: string }>(
    `SELECT relname::text AS name FROM pg_class JOIN pg_inherits ON inhrelid = pg_class.oid
    WHERE inhparent = 'osb.audit_events'::regclass ORDER BY 1`
  )
  return rows.map(({ name }) => name)
}

/** The months from this one on, or from an earlier one, as names of partitions. */
function months(count: number, first = 0): string[] {
  const now = new Date()
  return Array.from({ length: count }, (_, ahead) => {
    const month = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + first + ahead))
    return `audit_events_${month.toISOString().slice(0, 7).replace('-', '_')}`
  })
}

async function placesOf(pool: pg.Pool): Promise<Record<string, number>> {
  const { rows } = await pool.query<{ place: string; n: number }>(
    `SELECT relname::text AS place, count(*)::int AS n FROM osb.audit_events AS e JOIN pg_class ON pg_class.oid = e.tableoid
    GROUP BY 1`
  )
  return Object.fromEntries(rows.map(({ place, n }) => [place, n]))
}

async function idsRead(pool: pg.Pool): Promise<string[]> {
  const ids: string[] = []
  for await (const page of new AuditReader(pool).pages()) ids.push(...page.map(({ event_id: id }) => id))
  return ids
}

test('migrate: the audit of before becomes a partition, while events are written', async (t) => {
  const { pool, meddler } = await freshDatabase(t)
  await migrateTo(t, pool, 7)
  await pool.query(EVENTS, [Array.from({ length: 4_000 }, (_, n) => (4_000 - n) / 10)])
  const store = new PostgresStore(meddler, { sealer: newSealer() })
  t.after(() => store.close())
  let migrated = false
  const migrating = migrate(pool).finally(() => {
    migrated = true
  })
  let made = 0
  while (!migrated) {
    await readyInstance(store, `during-${made}`)
    made += 1
  }
  await migrating
  await readyInstance(store, 'after')
  const ids = await idsRead(pool)
  assert.equal(ids.length, 4_000 + 2 * (made + 1))
  assert.deepEqual(
    ids,
    ids.toSorted((one, other) => Number(one) - Number(other))
  )
  assert.equal(new Set(ids).size, ids.length)
  assert.deepEqual(await partitions(pool), ['audit_events_before', 'audit_events_other', ...months(4)].sort())
  const places = await placesOf(pool)
  assert.ok(
    (places.audit_events_before ?? 0) >= 4_000 && (places[months(1)[0] ?? ''] ?? 0) >= 2,
    JSON.stringify(places)
  )
  // The table of before brought its indexes along: none was built under the lock.
  const { rows } = await pool.query(
    `SELECT relname::text AS name FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = 'osb.audit_events_before'::regclass AND relispartition ORDER BY 1`
  )
  assert.deepEqual(
    rows.map(({ name }) => name),
    ['at', 'identity', 'instance', 'platform', 'request'].map((name) => `audit_events_before_${name}`)
  )
})

test('migrate: when it stops half way, events are written and read, and the next start finishes it', async (t) => {
  const { pool } = await freshDatabase(t)
  const migrations = new URL('../../../migrations/', import.meta.url)
  const name = readdirSync(migrations).find((file) => file.endsWith('_audit_partitions.sql')) ?? ''
  await migrateTo(t, pool, Number.parseInt(name, 10) - 1)
  await pool.query(EVENTS, [[3, 2, 1]])
  const file = readFileSync(new URL(name, migrations), 'utf8')
  const [, functions = '', swap = ''] = file.split(/^-- step$/m)
  await pool.query(`SET search_path = osb; ${functions}; ${swap}; RESET search_path`)
  const store = new PostgresStore(pool, { sealer: newSealer() })
  t.after(() => store.close())
  await readyInstance(store)
  assert.deepEqual(await idsRead(pool), ['4', '5'])
  // As by a clock that was set back.
  await pool.query(EVENTS, [[0.5]])
  assert.equal((await migrate(pool))[0], name)
  assert.deepEqual(await idsRead(pool), ['1', '2', '3', '6', '4', '5'])
  assert.equal((await placesOf(pool)).audit_events_other, undefined)
  await assert.rejects(pool.query('DELETE FROM osb.audit_events'), /append-only/)
})

test('audit_events: no partition can be changed, not directly either', async (t) => {
  const { store, pool } = await freshStore(t)
  await readyInstance(store)
  await pool.query(EVENTS, [[2, 5]])
  await pool.query(
    `INSERT INTO osb.audit_events (at, platform, action, phase, instance_id) VALUES ('3000-01-01', 'cf', 'bind', 'started', 'i')`
  )
  const all = ['audit_events', ...(await partitions(pool))]
  assert.equal(Object.keys(await placesOf(pool)).length, 3)
  for (const name of all) {
    const { rows } = await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM osb.${name}`)
    await assert.rejects(pool.query(`TRUNCATE osb.${name}`), { code: '42501' }, name)
    if ((rows[0]?.n ?? 0) === 0) continue
    await assert.rejects(pool.query(`UPDATE osb.${name} SET description = ''`), /append-only: UPDATE is refused/, name)
    await assert.rejects(pool.query(`DELETE FROM osb.${name}`), /append-only: DELETE is refused/, name)
  }
  assert.equal((await idsRead(pool)).length, 5)
})

/** As after years: this month and the last four are partitions. */
async function withMonths(pool: pg.Pool): Promise<void> {
  await pool.query(`SET search_path = osb; SET timezone = 'UTC';
    ALTER TABLE audit_events DETACH PARTITION audit_events_before; DROP TABLE audit_events_before;
    DO $$ DECLARE month timestamptz; name text; BEGIN
      FOR back IN 0..4 LOOP
        month := date_trunc('month', now()) - back * interval '1 month';
        name := 'audit_events_' || to_char(month, 'YYYY_MM');
        EXECUTE format('DROP TABLE IF EXISTS %I', name);
        EXECUTE format('CREATE TABLE %I PARTITION OF audit_events FOR VALUES FROM (%L) TO (%L)', name, month,
          month + interval '1 month');
      END LOOP;
    END $$; RESET search_path; RESET timezone`)
}

/** One event on each of the last 100 days. */
async function withHistory(pool: pg.Pool): Promise<void> {
  await withMonths(pool)
  await pool.query(EVENTS, [Array.from({ length: 100 }, (_, days) => days + 0.5)])
}

/** One event in the middle of the month four months ago, two in the next month, and so on; four in the last month. */
async function withMonthsPastRetention(pool: pg.Pool): Promise<{ daysToKeep: number; past: string[] }> {
  await withMonths(pool)
  await pool.query(`INSERT INTO osb.audit_events (at, platform, action, phase, instance_id)
    SELECT date_trunc('month', now(), 'UTC') - back * interval '1 month' + interval '14 days', 'cf', 'bind', 'started', 'i'
    FROM generate_series(1, 4) AS back, generate_series(back, 4)`)
  // The retention ends in the second day of the last month.
  const { rows } = await pool.query<{ days: number }>(
    `SELECT floor(extract(epoch FROM now() - (date_trunc('month', now(), 'UTC') - interval '1 month')) / 86400)::int - 1 AS days`
  )
  return { daysToKeep: rows[0]?.days ?? Number.NaN, past: [-4, -3, -2].flatMap((back) => months(1, back)) }
}

async function oldest(pool: pg.Pool): Promise<number> {
  const { rows } = await pool.query<{ days: number }>(
    'SELECT extract(epoch FROM now() - min(at))::float8 / 86400 AS days FROM osb.audit_events'
  )
  return rows[0]?.days ?? Number.NaN
}

test('forget: whole months are dropped, and of the month in which the time ends the events past it are deleted', async (t) => {
  const { store, pool } = await freshStore(t)
  await withHistory(pool)
  const before = await partitions(pool)
  assert.equal(await store.audit.forget(60), 40)
  assert.ok((await oldest(pool)) < 60)
  assert.equal((await idsRead(pool)).length, 60)
  assert.ok((await partitions(pool)).length < before.length)
  assert.equal(await store.audit.forget(60), 0)
})

test('forget: each transaction drops one month, so that writers of events do not wait for all of them', async (t) => {
  const { pool } = await freshStore(t)
  const { daysToKeep, past } = await withMonthsPastRetention(pool)
  const others = (await partitions(pool)).filter((name) => !past.includes(name))
  const forget = async () => {
    const { rows } = await pool.query<{ n: number }>('SELECT osb.forget_audit_events($1, 2000)::int AS n', [daysToKeep])
    return rows[0]?.n
  }
  for (const dropped of [1, 2, 3]) {
    assert.equal(await forget(), dropped)
    assert.deepEqual(await partitions(pool), [...past.slice(dropped), ...others].sort())
  }
  assert.equal(await forget(), 0)
  assert.deepEqual(await partitions(pool), others)
})

test('forget: a sweep drops all months past the retention and returns how many events they had', async (t) => {
  const { store, pool } = await freshStore(t)
  const { daysToKeep, past } = await withMonthsPastRetention(pool)
  const others = (await partitions(pool)).filter((name) => !past.includes(name))
  assert.equal(await store.audit.forget(daysToKeep), 6)
  assert.deepEqual(await partitions(pool), others)
  assert.equal((await idsRead(pool)).length, 4)
})

test('forget: a month that a pg_dump reads is left for the next time, and nobody waits for it', async (t) => {
  const { store, pool, url } = await freshStore(t)
  await withHistory(pool)
  const dump = new pg.Client({ connectionString: url })
  await dump.connect()
  t.after(() => dump.end())
  await dump.query('BEGIN; SELECT FROM osb.audit_events')
  const left = await store.audit.forget(60)
  assert.ok(left < 40)
  await readyInstance(store)
  await dump.query('COMMIT')
  assert.equal(left + (await store.audit.forget(60)), 40)
})

test('tidy: it makes the partitions of the next months, also as a role that may create nothing', async (t) => {
  const { pool, url } = await freshStore(t)
  const role = `broker_${process.pid}_audit`
  await pool.query(`DROP TABLE osb.${months(4)[3]}; CREATE ROLE ${role} LOGIN PASSWORD 'p';
    GRANT USAGE ON SCHEMA osb TO ${role}; GRANT SELECT ON ALL TABLES IN SCHEMA osb TO ${role}`)
  const plain = new pg.Pool({ connectionString: Object.assign(new URL(url), { username: role, password: 'p' }).href })
  t.after(() => plain.end())
  const store = new PostgresStore(plain, { sealer: newSealer() })
  t.after(() => store.close())
  await store.tidy()
  assert.deepEqual(await partitions(pool), ['audit_events_before', 'audit_events_other', ...months(4)].sort())
})

test('tidy: events that came without a partition stay where they are, and the rest of the month gets one', async (t) => {
  const { store, pool } = await freshStore(t)
  const [month = ''] = months(1)
  await pool.query(`DROP TABLE osb.${month}`)
  await readyInstance(store)
  assert.deepEqual(await placesOf(pool), { audit_events_other: 2 })
  await store.tidy()
  await store.tidy()
  await readyInstance(store, 'i-2')
  const { rows } = await pool.query<{ late: boolean }>(
    `SELECT now() + interval '3 hours' > date_trunc('month', now(), 'UTC') + interval '1 month' AS late`
  )
  // In the last hours of a month there is no rest.
  assert.equal((await partitions(pool)).includes(month), rows[0]?.late === false)
  assert.equal((await idsRead(pool)).length, 4)
})

test('audit: events are written while the partitions of the next months are made', async (t) => {
  const { store, pool, url } = await freshStore(t)
  const [, ...ahead] = months(4)
  for (const name of ahead) await pool.query(`DROP TABLE osb.${name}`)
  const writer = new pg.Client({ connectionString: url })
  await writer.connect()
  t.after(() => writer.end())
  await writer.query('BEGIN')
  await writer.query(EVENTS, [[0]])
  await store.tidy()
  assert.ok((await partitions(pool)).includes(ahead[2] ?? ''))
  await writer.query('COMMIT')
  await until('it is read', async () => (await idsRead(pool)).length === 1)
})
