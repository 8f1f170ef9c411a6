import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import type { OperationJob, OperationKind } from '../../src/core/store.ts'
import { groupOf, Slots } from '../../src/runners/slots.ts'
import { oneDatabase, replica } from '../core/bad-conditions/setup.ts'
import { basic, deleteQuery, headers, ids, provisionBody } from '../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until } from '../helper/scripted-provider.ts'
import { operationRecord } from '../stores/records.ts'

const job = (kind: OperationKind, platform: string): OperationJob => operationRecord(kind, { platform })

/** Waiting jobs, of which a process takes what its slots allow, as the queue does: short ones first, in their order. */
function taker(slots: Slots, waiting: OperationJob[]) {
  const taken: { job: OperationJob; free: () => void }[] = []
  const isShort = ({ kind }: OperationJob) => kind !== 'provision' && kind !== 'update'
  const next = () => {
    const vacancy = slots.vacancy()
    if (vacancy === undefined) return []
    const fits = (each: OperationJob) =>
      !vacancy.fullGroups.includes(groupOf(each)) && (isShort(each) || !vacancy.shortOnly)
    const fitting = waiting.filter(fits).toSorted((one, other) => Number(isShort(other)) - Number(isShort(one)))
    return fitting.slice(0, vacancy.count)
  }
  const take = () => {
    for (let jobs = next(); jobs.length > 0; jobs = next()) {
      for (const each of jobs) {
        waiting.splice(waiting.indexOf(each), 1)
        taken.push({ job: each, free: slots.take(each) })
      }
    }
  }
  return {
    taken,
    take,
    count: (platform: string) => taken.filter(({ job: each }) => each.platform === platform).length,
    kinds: (platform: string) =>
      taken.filter(({ job: each }) => each.platform === platform).map(({ job: { kind } }) => kind)
  }
}

const flood = (platform: string) =>
  (['provision', 'update', 'bind', 'unbind', 'deprovision'] as const).flatMap((kind) =>
    Array.from({ length: 20 }, () => job(kind, platform))
  )

describe('Slots', () => {
  for (const total of [2, 3, 4, 5, 8, 16, 64]) {
    test(`${total} slots: one platform never holds the last one, and another platform gets it at once`, () => {
      const waiting = flood('greedy')
      const { take, count, kinds } = taker(new Slots(total), waiting)
      take()
      assert.equal(count('greedy'), total - 1)
      waiting.push(job('unbind', 'other'))
      take()
      assert.deepEqual(kinds('other'), ['unbind'])
    })
  }

  test('8 slots: a platform holds 7, of which at most 5 are long, and another one creates at once', () => {
    const waiting = Array.from({ length: 20 }, () => job('provision', 'greedy'))
    const { take, count, kinds } = taker(new Slots(8), waiting)
    take()
    assert.equal(count('greedy'), 5)
    waiting.push(...Array.from({ length: 20 }, () => job('deprovision', 'greedy')))
    take()
    assert.equal(count('greedy'), 7)
    waiting.push(job('provision', 'other'))
    take()
    assert.deepEqual(kinds('other'), ['provision'])
  })

  test('1 slot: it has no limits, and takes whatever comes', () => {
    for (const kind of ['provision', 'unbind'] as const) {
      const waiting = [job(kind, 'one'), job(kind, 'one')]
      const { take, taken } = taker(new Slots(1), waiting)
      take()
      assert.equal(taken.length, 1)
      taken[0]?.free()
      take()
      assert.equal(taken.length, 2)
    }
  })

  test('2 slots: one takes only short operations', () => {
    const waiting = [job('provision', 'one'), job('provision', 'other'), job('unbind', 'one')]
    const { take, kinds } = taker(new Slots(2), waiting)
    take()
    // The short one comes first, and then the platform has reached its limit of one.
    assert.deepEqual([kinds('one'), kinds('other')], [['unbind'], ['provision']])
  })

  test('a slot is free again after its operation, for its platform too', () => {
    const waiting = flood('greedy')
    const slots = new Slots(4)
    const { take, taken, count } = taker(slots, waiting)
    for (let round = 0; round < 10; round += 1) {
      take()
      assert.equal(count('greedy'), 3)
      assert.ok(slots.vacancy() !== undefined)
      for (const { free } of taken.splice(0)) free()
      assert.deepEqual(slots.vacancy(), new Slots(4).vacancy())
    }
  })
})

/** A replica that two platforms use. After `flood`, the operations of `greedy` hang until `work` opens. */
async function shared(t: TestContext, workers: number) {
  const { url, encryptionKeys } = await oneDatabase()
  const work = gate()
  let flooded = false
  let running = 0
  const hang = async ({ platform }: AnyTask) => {
    if (platform !== 'greedy' || !flooded) return
    running += 1
    await work.opened
    running -= 1
  }
  const provider = new ScriptedProvider({ provision: hang, deprovision: hang })
  const platforms = ['greedy', 'other'].map((name) => ({ name, username: name, password: `${name}-password` }))
  const options = { providers: [provider], store: { connectionString: url }, encryptionKeys, workers }
  const { app } = await replica(t, { ...options, auth: { platforms } })
  const request = async (method: 'PUT' | 'DELETE', platform: string, id: string) => {
    const path = `/v2/service_instances/${id}`
    const reply = await app.inject({
      method,
      url: path + deleteQuery(ids.plans.async, '&accepts_incomplete=true'),
      headers: { ...headers, authorization: basic(platform, `${platform}-password`) },
      ...(method === 'PUT' ? { payload: provisionBody(ids.plans.async) } : {})
    })
    assert.equal(reply.statusCode, 202, reply.body)
  }
  const ended = (platform: string, id: string) =>
    until(`the operation on ${id} has succeeded`, async () => {
      const authorization = basic(platform, `${platform}-password`)
      const url = `/v2/service_instances/${id}/last_operation`
      return (await app.inject({ url, headers: { ...headers, authorization } })).json().state === 'succeeded'
    })
  const flood = async () => {
    for (const id of ['g-1', 'g-2']) await request('PUT', 'greedy', id)
    for (const id of ['g-1', 'g-2']) await ended('greedy', id)
    flooded = true
    for (const id of ['g-3', 'g-4', 'g-5']) await request('PUT', 'greedy', id)
    await until('a long operation of the flood runs', () => running > 0)
    for (const id of ['g-1', 'g-2']) await request('DELETE', 'greedy', id)
  }
  return { work, request, ended, flood, running: () => running }
}

describe('workers of a replica', { concurrency: true }, () => {
  for (const { workers, held } of [
    { workers: 2, held: 1 },
    { workers: 4, held: 3 }
  ]) {
    test(`${workers} workers: the delete of another platform runs while one platform floods them`, async (t) => {
      const { work, request, ended, flood, running } = await shared(t, workers)
      await request('PUT', 'other', 'o-1')
      await ended('other', 'o-1')
      await flood()
      await until('the flood has as many workers as it can get', () => running() === held)
      await request('DELETE', 'other', 'o-1')
      await ended('other', 'o-1')
      assert.equal(running(), held)
      work.open()
      for (const id of ['g-1', 'g-2', 'g-3', 'g-4', 'g-5']) await ended('greedy', id)
    })
  }

  test('4 workers: the create of another platform runs while one platform floods them', async (t) => {
    const { work, request, ended, flood, running } = await shared(t, 4)
    await flood()
    await until('the flood has as many workers as it can get', () => running() === 3)
    await request('PUT', 'other', 'o-1')
    await ended('other', 'o-1')
    assert.equal(running(), 3)
    work.open()
    for (const id of ['g-1', 'g-2', 'g-3', 'g-4', 'g-5']) await ended('greedy', id)
  })

  test('1 worker: one operation after the other, of any platform', async (t) => {
    const { work, request, ended, flood, running } = await shared(t, 1)
    await flood()
    await request('PUT', 'other', 'o-1')
    assert.equal(running(), 1)
    work.open()
    await ended('other', 'o-1')
    for (const id of ['g-1', 'g-2', 'g-3', 'g-4', 'g-5']) await ended('greedy', id)
    assert.equal(running(), 0)
  })
})
