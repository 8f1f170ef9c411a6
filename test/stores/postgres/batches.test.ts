import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import type { Enqueue, InstanceRecord, OperationRecord, Start } from '../../../src/core/store.ts'
import { Batcher } from '../../../src/stores/postgres/batcher.ts'
import { createMany } from '../../../src/stores/postgres/create-many.ts'
import { PostgresStore, tablesOf } from '../../../src/stores/postgres/index.ts'
import { fieldsOf, instanceRecord, noEnqueue, provisionStart, startedFields, synchronous } from '../records.ts'
import { freshStore } from './fresh-store.ts'

function create(
  instanceId: string,
  fields: Partial<OperationRecord> = {},
  record: Partial<InstanceRecord> = {}
): Start {
  const start = provisionStart({ instanceId, ...fields }, record)
  return { ...start, operation: synchronous(start.operation) }
}

const ready = { state: 'succeeded', instance: { status: 'ready' } } as const

test('start, finish: many synchronous creates at once are each as one alone would be', async (t) => {
  const { store, pool } = await freshStore(t)
  const starts = Array.from({ length: 60 }, (_, n) =>
    create(
      `i-${n}`,
      n % 3 === 0
        ? { originatingIdentity: { platform: 'cf', value: { user_id: `u-${n}` } }, requestIdentity: `r-${n}` }
        : {},
      n % 2 === 0 ? { parameters: { list: ['a', { n }], 'quo"te': "it's {a,b}" }, maintenanceVersion: `1.0.${n}` } : {}
    )
  )
  const results = await Promise.all(starts.map((start) => store.start(start, noEnqueue)))
  assert.deepEqual(results, Array(60).fill('started'))
  for (const { operation, insertInstance } of starts) {
    assert.deepEqual(await store.getInstance(operation.instanceId), insertInstance)
    const kept = await store.unfinishedOperation(operation.instanceId)
    assert.deepEqual(startedFields(kept), fieldsOf(operation))
    assert.ok(kept?.leaseUntil !== undefined && kept.leaseUntil.getTime() > Date.now() + 1_000)
  }
  const claims = starts.map(({ operation }) => ({ operationId: operation.operationId, attempt: 1, platform: 'cf' }))
  // Another attempt of every fifth: it was taken over
  const ended = await Promise.all(
    claims.map((claim, n) =>
      store.finish({ ...claim, attempt: n % 5 === 0 ? 2 : 1 }, { ...ready, description: `d-${n}` })
    )
  )
  assert.deepEqual(
    ended,
    claims.map((_, n) => n % 5 !== 0)
  )
  for (const [n, { operation }] of starts.entries()) {
    const kept = await store.getOperation(operation.operationId)
    const instance = await store.getInstance(operation.instanceId)
    const told = [kept?.state, kept?.description, kept?.leaseUntil === undefined, instance?.status]
    assert.deepEqual(
      told,
      n % 5 === 0 ? ['in progress', undefined, false, 'creating'] : ['succeeded', `d-${n}`, true, 'ready']
    )
  }
  const { rows } = await pool.query(
    `SELECT phase, count(*)::int, count(DISTINCT operation_id)::int AS operations, bool_and(service_id = 's-1' AND plan_id = 'p-1') AS named
    FROM osb.audit_events GROUP BY phase ORDER BY phase`
  )
  assert.deepEqual(rows, [
    { phase: 'started', count: 60, operations: 60, named: true },
    { phase: 'succeeded', count: 48, operations: 48, named: true }
  ])
})

test('start: asynchronous creates at once are handed over in the transaction that writes them, and have no lease', async (t) => {
  const { store, pool } = await freshStore(t)
  await pool.query('CREATE TABLE given (operation_id text)')
  const give: Enqueue = async ({ operationId }, transaction) => {
    if (!isSql(transaction)) throw new Error('no transaction was given')
    await transaction.executeSql('INSERT INTO given VALUES ($1)', [operationId])
  }
  const starts = Array.from({ length: 12 }, (_, n) => provisionStart({ instanceId: `i-${n}` }))
  const refuse: Enqueue = async (operation, transaction) => {
    await give(operation, transaction)
    throw new Unavailable('not now')
  }
  const results = await Promise.allSettled(starts.map((start, n) => store.start(start, n === 5 ? refuse : give)))
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value : result.reason instanceof Unavailable)),
    starts.map((_, n) => (n === 5 ? true : 'started'))
  )
  assert.equal(await store.getInstance('i-5'), undefined)
  const others = starts.filter((_, n) => n !== 5).map(({ operation }) => operation.operationId)
  const { rows } = await pool.query<{ operation_id: string }>('SELECT operation_id FROM given')
  assert.deepEqual(rows.map((row) => row.operation_id).sort(), others.sort())
  for (const operationId of others) {
    const kept = await store.getOperation(operationId)
    assert.deepEqual([kept?.state, kept?.attempt, kept?.leaseUntil], ['in progress', 0, undefined])
  }
})

function isSql(value: unknown): value is { executeSql(text: string, values: unknown[]): Promise<unknown> } {
  return typeof value === 'object' && value !== null && 'executeSql' in value && typeof value.executeSql === 'function'
}

test('start: of several synchronous creates of one id at once, among others, one is started', async (t) => {
  const { store } = await freshStore(t)
  assert.equal(await store.start(create('taken'), noEnqueue), 'started')
  const starts = ['a', 'taken', 'b', 'a', 'c', 'a', 'b'].map((id) => create(id))
  const results = await Promise.all(starts.map((start) => store.start(start, noEnqueue)))
  assert.deepEqual(results, ['started', 'changed', 'started', 'changed', 'started', 'changed', 'changed'])
  const first = starts[0]?.operation
  assert.equal((await store.unfinishedOperation('a'))?.operationId, first?.operationId)
})

test('start: what one of many trips over is its own', async (t) => {
  const { store } = await freshStore(t)
  const bad = create('bad', {}, { parameters: { text: 'a\0b' } })
  const others = Array.from({ length: 10 }, (_, n) => create(`i-${n}`))
  const results = await Promise.allSettled([bad, ...others].map((start) => store.start(start, noEnqueue)))
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value : 'refused')),
    ['refused', ...Array(10).fill('started')]
  )
  assert.equal(await store.getInstance('bad'), undefined)
})

test('batcher: one alone goes at once, those that come meanwhile go together, and each gets its own', async () => {
  const batches: number[][] = []
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const work = async (items: readonly number[]) => {
    batches.push([...items])
    if (batches.length === 1) await held
    if (items.includes(13)) throw new Error('unlucky')
    return items.map((item) => item * 2)
  }
  const batcher = new Batcher({ work, width: 1, size: 3 })
  const first = batcher.add(1)
  while (batches.length === 0) await sleep(1)
  const later = [2, 3, 4, 5, 13].map((item) => batcher.add(item))
  const settled = Promise.allSettled(later)
  release()
  assert.equal(await first, 2)
  assert.deepEqual(
    (await settled).map((result) => (result.status === 'fulfilled' ? result.value : String(result.reason))),
    [4, 6, 8, 'Error: unlucky', 'Error: unlucky']
  )
  assert.deepEqual(batches, [[1], [2, 3, 4], [5, 13]])
})

test('batcher: whose turn does not come in time is told so and never done; what is under way is waited for', async () => {
  const held = Promise.withResolvers<void>()
  const batches: string[][] = []
  const work = async (items: readonly string[]) => {
    batches.push([...items])
    if (items.includes('hangs')) await held.promise
    return items
  }
  const batcher = new Batcher({ work, width: 1, size: 2, queueMs: 200 })
  const hanging = batcher.add('hangs')
  while (batches.length === 0) await sleep(1)
  assert.equal(batcher.queueMs(), 0)
  const queued = assert.rejects(batcher.add('queued'), Unavailable)
  await sleep(100)
  const waited = batcher.queueMs()
  assert.ok(waited >= 90 && waited < 200, `the first in the queue has waited ${waited} ms`)
  const later = batcher.add('later')
  await queued
  held.resolve()
  assert.deepEqual([await hanging, await later], ['hangs', 'later'])
  assert.deepEqual(batches, [['hangs'], ['later']])
  assert.equal(batcher.queueMs(), 0)
})

test('start, finish, get: a connection that is cut fails what was under way on it, and nothing after', async (t) => {
  const { store, pool } = await freshStore(t)
  const blocker = await pool.connect()
  await blocker.query('BEGIN; LOCK TABLE osb.service_instances IN ACCESS EXCLUSIVE MODE')
  const starts = Array.from({ length: 10 }, (_, n) => create(`i-${n}`))
  const lost = starts.map((start) => assert.rejects(store.start(start, noEnqueue), Unavailable))
  const [own] = (await blocker.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')).rows
  for (const pid of await waitingFor(pool, own?.pid)) await pool.query('SELECT pg_terminate_backend($1)', [pid])
  await Promise.all(lost)
  await blocker.query('ROLLBACK')
  blocker.release()
  for (const start of starts) assert.equal(await store.getInstance(start.operation.instanceId), undefined)
  assert.deepEqual(await Promise.all(starts.map((start) => store.start(start, noEnqueue))), Array(10).fill('started'))
})

test('start, finish: what waits too long for a lock fails alone, not those that came with it', async (t) => {
  const { store, pool } = await freshStore(t)
  const begun = Array.from({ length: 5 }, (_, n) => create(`begun-${n}`))
  for (const start of begun) assert.equal(await store.start(start, noEnqueue), 'started')
  const blocker = await pool.connect()
  await blocker.query('BEGIN')
  await blocker.query(`SELECT FROM osb.operations WHERE instance_id = 'begun-2' FOR UPDATE`)
  const columns =
    'platform, provider, service_id, plan_id, organization_guid, space_guid, context, parameters, status, created_at, updated_at'
  await blocker.query(`INSERT INTO osb.service_instances (instance_id, ${columns})
    SELECT 'new-2', ${columns} FROM osb.service_instances WHERE instance_id = 'begun-0'`)
  const settled = await Promise.allSettled([
    ...begun.map(({ operation: { operationId } }) => store.finish({ operationId, attempt: 1, platform: 'cf' }, ready)),
    ...Array.from({ length: 5 }, (_, n) => store.start(create(`new-${n}`), noEnqueue))
  ])
  await blocker.query('ROLLBACK')
  blocker.release()
  assert.deepEqual(
    settled.map((one) => (one.status === 'fulfilled' ? one.value : one.reason instanceof Unavailable)),
    [true, true, true, true, true, 'started', 'started', true, 'started', 'started']
  )
  assert.deepEqual(
    await Promise.all(begun.map(async ({ operation }) => (await store.getOperation(operation.operationId))?.state)),
    ['succeeded', 'succeeded', 'in progress', 'succeeded', 'succeeded']
  )
})

/** The connections that wait for a lock of another; not asked of that one, which sees the same for a whole transaction. */
async function waitingFor(pool: Pool, pid: number | undefined): Promise<number[]> {
  for (let tries = 0; tries < 500; tries += 1) {
    const { rows } = await pool.query<{ pid: number }>(
      'SELECT pid FROM pg_stat_activity WHERE $1::int = ANY (pg_blocking_pids(pid))',
      [pid]
    )
    if (rows.length > 0) return rows.map((row) => row.pid)
    await sleep(10)
  }
  throw new Error('nobody waits')
}

test('finish: a row that somebody has locked holds up none of the others', async (t) => {
  const { store, meddler } = await freshStore(t)
  const starts = ['i-0', 'i-1', 'i-2', 'i-3'].map((id) => create(id))
  await Promise.all(starts.map((start) => store.start(start, noEnqueue)))
  const blocker = await meddler.connect()
  await blocker.query("BEGIN; SELECT FROM osb.service_instances WHERE instance_id = 'i-0' FOR UPDATE")
  const [locked, ...others] = starts.map(({ operation: { operationId } }) =>
    store.finish({ operationId, attempt: 1, platform: 'cf' }, ready)
  )
  try {
    assert.deepEqual(await Promise.all(others), [true, true, true])
    assert.equal((await store.getInstance('i-0'))?.status, 'creating')
  } finally {
    await blocker.query('ROLLBACK')
    blocker.release()
  }
  assert.equal(await locked, true)
  assert.equal((await store.getInstance('i-0'))?.status, 'ready')
})

test('start: replicas that create the same ids in another order do not wait for each other in a circle', async (t) => {
  const { store, pool, sealer } = await freshStore(t)
  const other = new PostgresStore(pool, { sealer })
  t.after(() => other.close())
  for (let round = 0; round < 15; round += 1) {
    const ids = Array.from({ length: 60 }, (_, n) => `i-${round}-${n}`)
    const [one, two] = await Promise.all([
      Promise.all(ids.map((id) => store.start(create(id), noEnqueue))),
      Promise.all(ids.toReversed().map((id) => other.start(create(id), noEnqueue)))
    ])
    assert.deepEqual(
      two.toReversed().map((result, n) => [result, one[n]].sort()),
      ids.map(() => ['changed', 'started'])
    )
  }
})

test('getInstance: one that cannot be opened is the trouble of nobody else, and each has a copy of its own', async (t) => {
  const { store, pool } = await freshStore(t)
  await store.start(create('i-1'), noEnqueue)
  await store.start(create('broken'), noEnqueue)
  await pool.query("UPDATE osb.service_instances SET state = 'no sealed text' WHERE instance_id = 'broken'")
  const broken = assert.rejects(store.getInstance('broken'), { name: 'SealBroken' })
  const [one, two] = await Promise.all([store.getInstance('i-1'), store.getInstance('i-1')])
  await broken
  assert.equal(one?.instanceId, 'i-1')
  assert.deepEqual(one, two)
  assert.notEqual(one?.parameters, two?.parameters)
})

test('createMany: an id that another transaction is inserting is left alone, and the others do not wait for it', async (t) => {
  const { store, pool, sealer, meddler } = await freshStore(t)
  const inserting = Promise.withResolvers<void>()
  const committing = Promise.withResolvers<void>()
  const quota = { planId: 'p-1', instances: 10 }
  // Not batched, because it has a quota; its transaction stays open until the test lets it commit.
  const first = store.start({ ...create('i-held'), quota }, async () => {
    inserting.resolve()
    await committing.promise
  })
  await inserting.promise
  const context = { pool, tables: tablesOf(), sealer, leaseMs: 9_000 }
  const creates = ['i-1', 'i-held', 'i-2'].map((id) => {
    const { insertInstance = instanceRecord(), ...start } = create(id)
    return { start: { ...start, insertInstance }, enqueue: noEnqueue }
  })
  assert.deepEqual(await createMany(context, creates), ['started', 'alone', 'started'])
  const { rows } = await meddler.query(`SELECT instance_id FROM osb.service_instances ORDER BY instance_id`)
  assert.deepEqual(rows, [{ instance_id: 'i-1' }, { instance_id: 'i-2' }])
  const again = store.start(create('i-held'), noEnqueue)
  committing.resolve()
  assert.deepEqual([await first, await again], ['started', 'changed'])
})
