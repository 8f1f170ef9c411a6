import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Client } from 'pg'
import { Unavailable } from '../../../src/core/provider.ts'
import { codeOf } from '../../../src/postgres/index.ts'
import { Journal } from '../../../src/providers/postgresql/guard/journal.ts'
import { excess } from '../../../src/providers/postgresql/guard/lock-limit.ts'
import type { Holder } from '../../../src/providers/postgresql/guard/look.ts'
import { keptLog } from './failures.ts'
import { type Audited, acts, canLogIn, eventually, guarded, Tenant } from './guard-scene.ts'
import { OwnServer } from './own-server.ts'
import { adminKinds, connect } from './support.ts'

const server = new OwnServer({ max_connections: '30' })

before(() => server.start())
after(() => server.remove())

for (const admin of adminKinds) {
  test(`guard: with ${admin}, it works while tenants have taken every connection`, async (t) => {
    const { mine, other, lines } = await guarded(t, { admin, url: server.adminUrl })
    const uri = await mine.uri('b')
    const holder = await Tenant.on(t, uri)
    await holder.run('BEGIN', `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`)
    const attacker = await Tenant.on(t, await mine.uri('c'))
    const idle: Client[] = []
    const fill = async () => {
      for (;;) idle.push(await connect(t, uri))
    }
    await assert.rejects(fill(), { code: '53300' })
    assert.ok(idle.length > 5)
    assert.equal(codeOf(await attacker.wait(`DROP DATABASE ${other.database}`)), '57P01')
    await eventually(() => acts(lines).some(({ login }) => login === attacker.login), 'the log has it')
    for (const client of idle) await client.end()
  })

  test(`guard: with ${admin}, an operator who locks a shared catalog waits for it for seconds at most`, async (t) => {
    const { other } = await guarded(t, { admin, url: server.adminUrl })
    const operator = await connect(t, server.adminUrl)
    await operator.query(`SET lock_timeout = '20s'; BEGIN; LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE; COMMIT`)
    assert.ok(await canLogIn(await other.uri('b')))
  })
}

test('guard: a server that goes down and comes back is one line each, and is guarded again', async (t) => {
  const { mine, other, lines } = await guarded(t, { admin: 'superuser', url: server.adminUrl })
  const uri = await mine.uri('b')
  await server.stop(t)
  await eventually(() => lines.some(({ message }) => /cannot watch the server/.test(message ?? '')), 'it says so')
  await server.start()
  await eventually(() => lines.some(({ message }) => /watches the server again/.test(message ?? '')), 'it is back')
  const holder = await Tenant.on(t, uri)
  await holder.run('BEGIN', `ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '5MB'`)
  const attacker = await Tenant.on(t, uri)
  assert.equal(codeOf(await attacker.wait(`DROP DATABASE ${other.database}`)), '57P01')
  assert.equal(lines.filter(({ message }) => /cannot watch the server/.test(message ?? '')).length, 1)
  assert.equal(lines.filter(({ message }) => /watches the server again/.test(message ?? '')).length, 1)
})

test('excess: the largest holders above the limit of the plan, and of any instance once the table is almost full', () => {
  const holder = (token: string, locks: number, lockLimit: number | null = null): Holder => ({
    ...{ holder: `${token} ${locks}`, pid: 1, gid: null, userId: '1', login: token, database: token, token, locks },
    ...{ startedAt: null, transaction: null, offences: [], shared: false, lockLimit }
  })
  const chosen = (holders: Holder[], locks: number, capacity = 100_000) => {
    const { holders: ending, floods } = excess({ holders, locks, capacity })
    return [ending.map((each) => each.holder), [...floods]]
  }
  assert.deepEqual(chosen([holder('a', 4000), holder('b', 4000)], 8000), [[], []])
  assert.deepEqual(chosen([holder('a', 1000), holder('a', 3000), holder('a', 500)], 4500), [['a 3000'], []])
  assert.deepEqual(chosen([holder('a', 300, 200), holder('b', 300, 400)], 600), [['a 300'], []])
  assert.deepEqual(chosen([holder('a', 900, 200)], 900), [['a 900'], ['a']], 'four times the limit is a flood')
  assert.deepEqual(chosen([holder('a', 5000)], 5000, 8000), [['a 5000'], ['a']], 'so is half of the table')
  const many = ['a', 'b', 'c'].map((token, index) => holder(token, 3000 + index))
  assert.deepEqual(chosen(many, 9003, 10_000), [['c 3002'], []], 'instances that fill the table together')
  assert.deepEqual(chosen([holder('a', 200)], 9000, 10_000), [['a 200'], []])
})

test('journal: an act against an unknown instance is audited by the next round, as is one that the store refused', async () => {
  const journal = new Journal()
  const audited: Audited[] = []
  const { log, lines } = keptLog()
  let away = true
  journal.begin(
    {
      log,
      audit: async (instanceId, description) => {
        if (away) throw new Unavailable('The store is away.')
        audited.push([instanceId, description])
      }
    },
    []
  )
  const token = (letter: string) => letter.repeat(20)
  const act = { rule: 'locks', action: 'end', server: 'default', database: 'd', login: 'l' } as const
  journal.learn('i-known', token('a'))
  for (const letter of ['a', 'b', 'c']) journal.note({ ...act, token: token(letter) })
  assert.equal(acts(lines).length, 3)
  let read = 0
  const round = {
    log,
    async *instances() {
      for (const letter of ['d', 'b', 'c', 'e']) {
        read += 1
        yield { instanceId: `i-${letter}`, state: { token: token(letter) }, options: {}, parameters: {}, bindings: [] }
      }
    }
  }
  await journal.resolve(round)
  assert.deepEqual([audited, read], [[], 3], 'it stops when all are found')
  away = false
  await journal.resolve(round)
  const event = 'ended a session of l in d: locks'
  assert.deepEqual(audited.toSorted(), [
    ['i-b', event],
    ['i-c', event],
    ['i-known', event]
  ])
  assert.equal(read, 3, 'nothing is searched again')
  await journal.resolve(round)
  assert.equal(audited.length, 3, 'each once')
})
