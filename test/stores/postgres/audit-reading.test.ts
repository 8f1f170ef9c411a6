import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { type AuditEvent, type AuditFilter, AuditReader, migrate } from '../../../src/stores/postgres/index.ts'
import { until } from '../records.ts'
import { freshDatabase } from './fresh-store.ts'

const COLUMNS = `at, platform, originating_identity, request_identity, action, phase, internal, instance_id, binding_id,
  operation_id, service_id, plan_id, description`

async function migrated(t: TestContext) {
  const database = await freshDatabase(t)
  await migrate(database.pool)
  return database
}

/** One event for each row of values; the identity as JSON. */
async function insert(pool: pg.Pool | pg.Client, ...rows: unknown[][]): Promise<void> {
  for (const row of rows) {
    const places = row.map((_, index) => `$${index + 1}`).join(', ')
    await pool.query(`INSERT INTO osb.audit_events (${COLUMNS}) VALUES (${places})`, row)
  }
}

async function collect(pages: AsyncIterable<AuditEvent[]>): Promise<AuditEvent[]> {
  return (await pagesOf(pages)).flat()
}

async function pagesOf(pages: AsyncIterable<AuditEvent[]>): Promise<AuditEvent[][]> {
  const all: AuditEvent[][] = []
  for await (const page of pages) all.push(page)
  return all
}

const cf = JSON.stringify({ platform: 'cloudfoundry', value: { user_id: 'Anne-1' } })
const k8s = JSON.stringify({ platform: 'kubernetes', value: { username: 'bob "x" é', groups: ['anne-fans'], uid: 77 } })
// In one millisecond, so that only the microseconds tell them apart.
const at = (microseconds: number) => `2026-03-01T10:00:00.000${String(microseconds).padStart(3, '0')}Z`
const samples = [
  [at(1), 'cf', cf, 'r-1', 'provision', 'started', false, 'i-1', null, 'o-1', 's-1', 'p-1', null],
  [at(2), 'cf', cf, 'r-1', 'provision', 'succeeded', false, 'i-1', null, 'o-1', 's-1', 'p-1', 'Ready.'],
  [at(3), 'k8s', k8s, 'r-2', 'bind', 'started', false, 'i-2', 'b-1', 'o-2', 's-1', 'p-2', null],
  [at(3), 'k8s', k8s, 'r-2', 'bind', 'halted', false, 'i-2', 'b-1', 'o-2', 's-1', 'p-2', 'Halted.'],
  [at(4), 'k8s', null, null, 'unbind', 'failed', true, 'i-2', 'b-1', 'o-3', 's-1', 'p-2', 'Failed.'],
  [at(5), 'cf', null, null, 'repair', 'succeeded', true, 'i-1', null, null, 's-1', 'p-1', 'healed']
]

test('AuditReader: every field comes out as it was written, and absent ones not at all', async (t) => {
  const { pool } = await migrated(t)
  await insert(pool, ...samples)
  const [first, , third, , , last] = await collect(new AuditReader(pool).pages())
  assert.deepEqual(first, {
    at: '2026-03-01T10:00:00.000001Z',
    event_id: '1',
    platform: 'cf',
    originating_identity: { platform: 'cloudfoundry', value: { user_id: 'Anne-1' } },
    request_identity: 'r-1',
    action: 'provision',
    outcome: 'started',
    internal: false,
    instance_id: 'i-1',
    operation_id: 'o-1',
    service_id: 's-1',
    plan_id: 'p-1'
  })
  assert.deepEqual([third?.binding_id, third?.originating_identity], ['b-1', JSON.parse(k8s)])
  assert.deepEqual(last, {
    at: '2026-03-01T10:00:00.000005Z',
    event_id: '6',
    platform: 'cf',
    action: 'repair',
    outcome: 'succeeded',
    internal: true,
    instance_id: 'i-1',
    service_id: 's-1',
    plan_id: 'p-1',
    description: 'healed'
  })
})

const filters: [AuditFilter, string][] = [
  [{}, '1 2 3 4 5 6'],
  [{ platform: 'cf' }, '1 2 6'],
  [{ instance: 'i-2' }, '3 4 5'],
  [{ binding: 'b-1', outcomes: ['failed'] }, '5'],
  [{ actions: ['unbind', 'repair'] }, '5 6'],
  [{ outcomes: ['started', 'halted'] }, '1 3 4'],
  [{ user: 'ANNE' }, '1 2 3 4'],
  [{ user: 'anne-1' }, '1 2'],
  [{ user: '"X" É' }, '3 4'],
  [{ user: '77' }, '3 4'],
  [{ user: 'username' }, ''],
  [{ user: '%' }, ''],
  [{ request: 'r-2' }, '3 4'],
  [{ since: new Date('2026-03-01T10:00:00.000Z'), until: new Date('2026-03-01T10:00:00.001Z') }, '1 2 3 4 5 6'],
  [{ since: new Date('2026-03-01T10:00:00.001Z') }, ''],
  [{ until: new Date('2026-03-01T10:00:00.000Z') }, ''],
  [
    { platform: 'cf', instance: 'i-1', actions: ['provision'], outcomes: ['succeeded'], user: 'anne', request: 'r-1' },
    '2'
  ]
]

test('AuditReader: every filter keeps the events that it is true of', async (t) => {
  const { pool } = await migrated(t)
  await insert(pool, ...samples)
  for (const [filter, expected] of filters) {
    const ids = (await collect(new AuditReader(pool, filter).pages())).map(({ event_id: id }) => id)
    assert.equal(ids.join(' '), expected, JSON.stringify(filter))
  }
})

test('AuditReader: pages give every event once, the newest last, and with a limit the newest so many', async (t) => {
  const { pool } = await migrated(t)
  // Four of a microsecond each, so that pages end between events of one time; the order of insertion is another.
  await pool.query(`INSERT INTO osb.audit_events (at, platform, action, phase, instance_id)
    SELECT '2026-03-01T10:00:00Z'::timestamptz + (n * 7919 % 3500 / 4) * interval '1 microsecond', 'cf', 'bind', 'started',
      'i-' || n % 10 FROM generate_series(1, 3500) AS n`)
  const all = await pagesOf(new AuditReader(pool).pages())
  assert.deepEqual(
    all.map((page) => page.length),
    [1000, 1000, 1000, 500]
  )
  const keys = all.flat().map(({ at: time, event_id: id }) => `${time} ${id.padStart(5, '0')}`)
  assert.deepEqual(keys, [...new Set(keys)].sort())
  assert.equal(keys.length, 3_500)
  const idsOf = (events: AuditEvent[]) => events.map(({ event_id: id }) => id)
  for (const limit of [1, 2, 1_000, 1_001, 3_500, 9_999]) {
    const newest = idsOf(await collect(new AuditReader(pool).pages(limit)))
    assert.deepEqual(newest, idsOf(all.flat().slice(-limit)), String(limit))
  }
  const some = all.flat().filter(({ instance_id: id }) => id === 'i-3')
  assert.deepEqual(await collect(new AuditReader(pool, { instance: 'i-3' }).pages(7)), some.slice(-7))
})

test('AuditReader: of a large table it reads what it gives, and no row twice', async (t) => {
  const { pool, url } = await migrated(t)
  await pool.query(`INSERT INTO osb.audit_events (at, platform, originating_identity, request_identity, action, phase, instance_id)
    SELECT now() - n * interval '1 second', CASE WHEN rare THEN 'rare' ELSE 'cf' END,
      jsonb_build_object('platform', 'cf', 'value', jsonb_build_object('user_id', 'user-' || CASE WHEN rare THEN 'Zoe' ELSE (n % 50)::text END)),
      'r-' || CASE WHEN rare THEN 'rare' ELSE n::text END, 'bind', 'started', 'i-' || n % 1000
    FROM generate_series(1, 20000) AS n, LATERAL (SELECT n % 4000 = 7 AS rare) AS seldom`)
  await pool.query('VACUUM ANALYZE osb.audit_events')
  const rowsRead = async () => {
    const { rows } = await pool.query(`SELECT sum(seq_tup_read)::int AS seq, (SELECT sum(idx_tup_read)::int
      FROM pg_stat_user_indexes WHERE relname LIKE 'audit_events%') AS idx
      FROM pg_stat_user_tables WHERE relname LIKE 'audit_events%'`)
    return rows[0]
  }
  const read = async (filter: AuditFilter, limit?: number) => {
    const before = await rowsRead()
    const reading = new pg.Pool({ connectionString: url, max: 1 })
    const given = await collect(new AuditReader(reading, filter).pages(limit))
    // The server counts what a session has read when it ends.
    await reading.end()
    const after = await until('the rows are counted', async () => {
      const now = await rowsRead()
      return now.idx > before.idx && now
    })
    assert.equal(after.seq - before.seq, 0)
    return { given: given.length, read: after.idx - before.idx }
  }
  // To find the end, to find the beginning, and what lies between; the ends of a range cost an entry or two more.
  const expected: [AuditFilter, number | undefined, number, number][] = [
    [{}, 20, 20, 1 + 20 + 20],
    [{ instance: 'i-5' }, 5, 5, 1 + 5 + 5],
    [{ platform: 'rare' }, undefined, 5, 1 + 5],
    [{ request: 'r-rare' }, undefined, 5, 1 + 5],
    // One entry for each of 51 users, to find those that are meant.
    [{ user: 'zoe' }, undefined, 5, 51 + 1 + 5],
    [{ user: 'nobody' }, undefined, 0, 51],
    [{}, undefined, 20_000, 1 + 20_000]
  ]
  for (const [filter, limit, given, entries] of expected) {
    const result = await read(filter, limit)
    assert.equal(result.given, given)
    assert.ok(result.read >= given && result.read <= entries * 1.01 + 10, JSON.stringify({ ...result, entries }))
  }
})

test('AuditReader: a text that many users have in common gives the events of all of them', async (t) => {
  const { pool } = await migrated(t)
  await pool.query(`INSERT INTO osb.audit_events (at, platform, originating_identity, action, phase, instance_id)
    SELECT now() - n * interval '1 second', 'cf',
      CASE WHEN n % 3 > 0 THEN jsonb_build_object('platform', 'cf', 'value', jsonb_build_object('user_id', 'user-' || n % 150)) END,
      'bind', 'started', 'i-' || n FROM generate_series(1, 3000) AS n`)
  const read = async (filter: AuditFilter, limit?: number) => collect(new AuditReader(pool, filter).pages(limit))
  const all = await read({ user: 'USER-' })
  assert.equal(all.length, 2_000)
  assert.deepEqual(await read({ user: 'user-' }, 7), all.slice(-7))
  const some = all.filter((event) => JSON.stringify(event.originating_identity).includes('user-14'))
  assert.deepEqual(await read({ user: 'user-14' }), some)
  assert.deepEqual(await read({ user: 'user-14' }, 3), some.slice(-3))
})

test('AuditReader: the server refuses it a write', async (t) => {
  const { pool } = await migrated(t)
  await insert(pool, ...samples)
  await pool.query('ALTER TABLE osb.audit_events RENAME TO events')
  await pool.query(`CREATE FUNCTION osb.write() RETURNS SETOF osb.events LANGUAGE sql AS
    $$ INSERT INTO osb.events (platform, action, phase, instance_id) VALUES ('x', 'bind', 'started', 'x') RETURNING * $$`)
  await pool.query('CREATE VIEW osb.audit_events AS SELECT * FROM osb.write()')
  await assert.rejects(collect(new AuditReader(pool).pages()), ({ cause }: Error) =>
    /read-only transaction/.test(String(cause))
  )
})

test('AuditReader: following shows what is there, then each event once when it is committed, however late', async (t) => {
  const { pool, url } = await migrated(t)
  const event = (id: string) => [
    new Date(),
    'cf',
    null,
    null,
    'bind',
    'started',
    false,
    id,
    null,
    null,
    null,
    null,
    null
  ]
  const late = new pg.Client({ connectionString: url })
  await late.connect()
  const shown: string[] = []
  const show = async () => {
    for await (const page of new AuditReader(pool, { platform: 'cf' }).follow(1)) {
      shown.push(...page.map(({ instance_id: id }) => id))
      if (shown.includes('i-end')) return
    }
  }
  await insert(pool, event('i-old'), event('i-shown'))
  await late.query('BEGIN')
  await insert(late, event('i-late'))
  const showing = show()
  try {
    await until('it shows what is there', async () => shown.length === 1)
    await insert(pool, event('i-new'), [new Date(), 'k8s', ...event('i-other').slice(2)])
    await until('it shows what has come', async () => shown.length === 2)
    await late.query('COMMIT')
    await until('it shows what was late', async () => shown.length === 3)
  } finally {
    await late.end()
    await insert(pool, event('i-end'))
    await showing
  }
  assert.deepEqual(shown, ['i-shown', 'i-new', 'i-late', 'i-end'])
})
