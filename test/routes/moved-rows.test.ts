import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import Fastify, { type LightMyRequestResponse } from 'fastify'
import { Client } from 'pg'
import { openServiceBroker } from '../../src/app.ts'
import { serverOptions } from '../../src/server.ts'
import type { Line } from '../core/bad-conditions/setup.ts'
import { oneDatabase } from '../core/bad-conditions/setup.ts'
import { basic, bindBody, headers, ids, provisionBody, whenBegun } from '../helper/app.ts'
import { type Script, ScriptedProvider, until } from '../helper/scripted-provider.ts'
import { ASYNC, answered, bindingPath, catalogOf, Platform, planOf } from './support.ts'

// Somebody writes to the state database and has the password of one platform, the thief's. No change of rows may get the
// thief the credentials of a binding of another platform, or new ones of its instance.

const SECRET = 'of the owner'
const plan = ids.plans.sync
const otherPlan = 'plan-2'

/** A broker, its owner with the instance `i` and the binding `b`, its thief with `t` and `tb`, and the database. */
async function scene(t: TestContext, { script = {}, broker = {} }: { script?: Script; broker?: object } = {}) {
  const { url, encryptionKeys } = await oneDatabase()
  const database = new Client({ connectionString: url })
  await database.connect()
  t.after(() => database.end())
  const sql = (text: string, values: unknown[] = []) => database.query(text, values)
  const provider = new ScriptedProvider({
    provision: async ({ instanceId }) => ({ state: { name: `outside ${instanceId}` } }),
    bind: async (task) => ({
      credentials: { password: task.platform === 'owner' ? SECRET : 'of the thief' },
      state: { login: task.instanceId }
    }),
    ...script
  })
  const lines: Line[] = []
  const stream = { write: (text: string) => void lines.push(JSON.parse(text)) }
  const app = Fastify({ ...serverOptions, logger: { level: 'warn', stream } })
  t.after(() => app.close())
  const platforms = ['owner', 'thief'].map((name) => ({ name, username: name, password: `${name}-password` }))
  await app.register(openServiceBroker, {
    catalog: catalogOf(
      [plan, otherPlan].map((id) => planOf(id, { mode: 'either', ...broker }, { binding_rotatable: true }))
    ),
    auth: { platforms },
    providers: [provider],
    store: { connectionString: url },
    encryptionKeys
  })
  await app.ready()
  await whenBegun(app)
  const of = (name: string) => new Platform(app, { ...headers, authorization: basic(name, `${name}-password`) })
  const [owner, thief] = [of('owner'), of('thief')]
  answered(await owner.provision('i', provisionBody(plan)), 201)
  answered(await owner.bind('i', 'b', bindBody(plan)), 201)
  answered(await thief.provision('t', provisionBody(plan)), 201)
  answered(await thief.bind('t', 'tb', bindBody(plan)), 201)
  return { owner, thief, sql, provider, lines }
}

type Scene = Awaited<ReturnType<typeof scene>>

/** What the thief can ask for about the instance and the binding of the owner. */
async function attempts({ thief }: Scene, planId: string = plan): Promise<LightMyRequestResponse[]> {
  return [
    await thief.fetchBinding('i', 'b'),
    await thief.bind('i', 'b', bindBody(planId)),
    await thief.bind('i', 'rotated', bindBody(planId, { predecessor_binding_id: 'b' })),
    await thief.bind('i', 'another', bindBody(planId)),
    await thief.update('i', { parameters: { changed: true } })
  ]
}

/** Fails if one of the answers is a success or has a secret. */
function refusedAll(replies: readonly LightMyRequestResponse[]): void {
  for (const reply of replies) {
    assert.ok(reply.statusCode >= 400, `${reply.raw.req.method} ${reply.raw.req.url}: ${reply.body}`)
    assert.ok(!reply.body.includes(SECRET), reply.body)
  }
}

const moves: Record<string, string[]> = {
  'the platform of the instance': [`UPDATE osb.service_instances SET platform = 'thief' WHERE instance_id = 'i'`],
  'the platform of all rows': ['service_instances', 'service_bindings', 'operations'].map(
    (table) => `UPDATE osb.${table} SET platform = 'thief' WHERE instance_id = 'i'`
  ),
  'the platform and the plan of all rows': ['service_instances', 'service_bindings'].map(
    (table) => `UPDATE osb.${table} SET platform = 'thief', plan_id = '${otherPlan}' WHERE instance_id = 'i'`
  ),
  'the platform of an instance that was deleted and is restored': [
    'CREATE TEMPORARY TABLE kept AS SELECT * FROM osb.service_instances WHERE instance_id = $$i$$',
    `DELETE FROM osb.service_instances WHERE instance_id = 'i'`,
    `UPDATE kept SET platform = 'thief'`,
    'INSERT INTO osb.service_instances SELECT * FROM kept'
  ]
}

for (const [name, statements] of Object.entries(moves)) {
  test(`a change of ${name} gives another platform nothing`, async (t) => {
    const made = await scene(t)
    for (const statement of statements) await made.sql(statement)
    refusedAll(await attempts(made, name.includes('plan of') ? otherPlan : plan))
    assert.equal(made.provider.calls.length, 4, 'the provider was called')
  })
}

test('an instance without its state gives another platform no credentials of its bindings', async (t) => {
  const made = await scene(t)
  await made.sql(`UPDATE osb.service_instances SET platform = 'thief', state = NULL WHERE instance_id = 'i'`)
  // Nothing of the instance is left to be authenticated. The provider must refuse another bind, because its state is gone.
  refusedAll((await attempts(made)).slice(0, 3))
  assert.equal(made.lines.filter(({ level }) => level === 50).length, 2)
  assert.match(
    JSON.stringify(made.lines),
    /The binding \\"b\\" of instance \\"i\\" belongs to the platform \\"owner\\"/
  )
})

test('a binding that was moved to an instance of another platform gives it nothing', async (t) => {
  const made = await scene(t)
  await made.sql(`UPDATE osb.service_bindings SET instance_id = 't', platform = 'thief' WHERE binding_id = 'b'`)
  refusedAll([await made.thief.fetchBinding('t', 'b'), await made.thief.bind('t', 'b', bindBody(plan))])
  const line = made.lines.find(({ err }) => JSON.stringify(err).includes('SealBroken'))
  assert.equal(line?.level, 50)
  assert.match(JSON.stringify(line?.err), /of binding \\"b\\" of instance \\"t\\" holds what belongs to another row/)
  assert.ok(!JSON.stringify(made.lines).includes(SECRET))
})

test('a text that was copied into a row of another platform gives it nothing', async (t) => {
  const made = await scene(t)
  await made.sql(`UPDATE osb.service_bindings SET reply = (SELECT reply FROM osb.service_bindings WHERE binding_id = 'b')
    WHERE binding_id = 'tb'`)
  refusedAll([await made.thief.fetchBinding('t', 'tb')])
  await made.sql(`UPDATE osb.service_instances SET state = (SELECT state FROM osb.service_instances WHERE instance_id = 'i')
    WHERE instance_id = 't'`)
  refusedAll([await made.thief.bind('t', 'new', bindBody(plan)), await made.thief.update('t', { parameters: {} })])
})

test('an older text of the same row gives the owner what it was, and another platform nothing', async (t) => {
  const made = await scene(t)
  const { rows } = await made.sql(`SELECT reply FROM osb.service_bindings WHERE binding_id = 'b'`)
  await made.owner.unbind('i', 'b', `?service_id=${ids.service}&plan_id=${plan}`)
  answered(await made.owner.bind('i', 'b', bindBody(plan)), 201)
  await made.sql(`UPDATE osb.service_bindings SET reply = $1 WHERE binding_id = 'b'`, [rows[0]?.reply])
  answered(await made.owner.fetchBinding('i', 'b'), 200, { credentials: { password: SECRET } })
  await made.sql(`UPDATE osb.service_bindings SET platform = 'thief' WHERE binding_id = 'b'`)
  refusedAll([await made.thief.fetchBinding('i', 'b')])
})

test('rows that change while the provider binds are written for the platform that asked', async (t) => {
  const working = Promise.withResolvers<void>()
  const made = await scene(t, {
    script: {
      bind: async (task) => {
        const { credentials, state } = { credentials: { password: SECRET }, state: { login: 'x' } }
        if (!('bindingId' in task) || task.bindingId !== 'late') return { credentials, state }
        await task.saveState({ login: 'before' })
        working.resolve()
        await resumed.promise
        await task.saveState({ login: 'after' })
        return { credentials, state }
      }
    }
  })
  const resumed = Promise.withResolvers<void>()
  const { operation } = answered(await made.owner.bind('i', 'late', bindBody(plan), ASYNC), 202)
  await working.promise
  // Without a state the instance opens for anybody.
  await made.sql(`UPDATE osb.service_instances SET platform = 'thief', state = NULL WHERE instance_id = 'i'`)
  await made.sql(`UPDATE osb.service_bindings SET platform = 'thief' WHERE instance_id = 'i'`)
  await made.sql(`UPDATE osb.operations SET platform = 'thief' WHERE instance_id = 'i'`)
  resumed.resolve()
  const { state } = (await made.thief.ended(bindingPath('i', 'late'), String(operation))).json()
  assert.equal(state, 'succeeded')
  refusedAll([await made.thief.fetchBinding('i', 'late'), await made.thief.bind('i', 'late', bindBody(plan))])
  for (const table of ['service_instances', 'service_bindings']) {
    await made.sql(`UPDATE osb.${table} SET platform = 'owner' WHERE instance_id = 'i'`)
  }
  answered(await made.owner.fetchBinding('i', 'late'), 200, { credentials: { password: SECRET } })
})

test('an operation that names another platform than its instance is not performed', async (t) => {
  const made: Scene = await scene(t, {
    script: {
      unbind: async () => {
        await made.sql(`UPDATE osb.operations SET platform = 'thief' WHERE instance_id = 'i'`)
        throw new Error('fails the first time')
      }
    }
  })
  const query = `?service_id=${ids.service}&plan_id=${plan}&accepts_incomplete=true`
  answered(await made.owner.unbind('i', 'b', query), 202)
  await until('the second attempt has failed', () => made.lines.some(({ attempt }) => attempt === 2))
  assert.deepEqual(
    made.provider.calls.filter((call) => call === 'unbind b'),
    ['unbind b']
  )
  const line = made.lines.find(({ attempt }) => attempt === 2)
  assert.match(
    JSON.stringify(line?.err),
    /The instance \\"i\\" belongs to the platform \\"owner\\", but was to be used for \\"thief\\"/
  )
})

test('credentials that are handed over once are not handed to another platform, and stay for the owner', async (t) => {
  const made = await scene(t, { broker: { keep_credentials: false } })
  const { operation } = answered(await made.owner.bind('i', 'once', bindBody(plan), ASYNC), 202)
  assert.equal((await made.owner.ended(bindingPath('i', 'once'), String(operation))).json().state, 'succeeded')
  await made.sql(
    `UPDATE osb.service_bindings SET platform = 'thief', reply = NULL, state = NULL WHERE binding_id = 'once'`
  )
  refusedAll([await made.thief.fetchBinding('i', 'once')])
  await made.sql(`UPDATE osb.service_bindings SET platform = 'owner' WHERE binding_id = 'once'`)
  answered(await made.owner.fetchBinding('i', 'once'), 200, { credentials: { password: SECRET } })
})
