import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { Rejected } from '../../src/core/provider.ts'
import { bindBody, deleteQuery, ids, provisionBody, type TestStore, testStores } from '../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until, untilAborted } from '../helper/scripted-provider.ts'
import {
  ALSO_ASYNC,
  ASYNC,
  accepted,
  answered,
  bindingPath,
  catalogOf,
  instancePath,
  type Platform,
  planOf,
  refused,
  statusCounts,
  succeeded,
  twoPlatforms
} from './support.ts'

const { plans, service } = ids
/** Of a plan that only the first platform sees, and of one that there is not; of one length, as all ids here. */
const [hidden, absent] = ['plan-hidden', 'plan-absent']
const FULL = 'plan-full'
const version = { version: '1.0.0' }

/** What a platform may know of a resource, or believe to know. */
interface Known {
  readonly instance: string
  readonly binding: string
  readonly operation: string
  readonly plan: string
}

/** Answers without what the platform itself has sent, and without the time. */
async function told(replies: readonly Promise<LightMyRequestResponse>[], known: Known) {
  return (await Promise.all(replies)).map((reply) => {
    const { date: _date, ...rest } = reply.headers
    let { body } = reply
    for (const [name, value] of Object.entries(known)) body = body.replaceAll(value, `<${name}>`)
    return { status: reply.statusCode, headers: rest, body }
  })
}

/** Everything that changes nothing when there is no such instance. */
function probes(platform: Platform, { instance, binding, operation, plan }: Known) {
  const [path, below] = [instancePath(instance), bindingPath(instance, binding)]
  const query = (planId: string, more = '') => `?service_id=${service}&plan_id=${planId}${more}`
  const body = (planId: string, more: object = {}) => ({ service_id: service, plan_id: planId, ...more })
  const { get } = platform
  const send = (method: 'PUT' | 'PATCH' | 'DELETE', url: string, payload?: object): Promise<LightMyRequestResponse> =>
    platform.send(method, url, payload)
  const polls = [path, below].flatMap((url) => [
    get(`${url}/last_operation`),
    get(`${url}/last_operation?operation=${operation}`),
    get(`${url}/last_operation${query(plan, `&operation=${operation}`)}`)
  ])
  return [
    ...polls,
    get(path),
    get(`${path}${query(plan)}`),
    get(below),
    send('PATCH', path, { service_id: service }),
    send('PATCH', path, { service_id: service, parameters: { size: 'big' } }),
    send('PATCH', `${path}${ASYNC}`, body(plans.either, { parameters: { a: 1 } })),
    send('PATCH', path, body(plans.async)),
    send('PATCH', path, body(plan)),
    send('PATCH', path, body(plans.sync, { maintenance_info: { version: '9.9.9' } })),
    send('PUT', below, body(plans.sync)),
    send('PUT', `${below}${ASYNC}`, body(plans.either)),
    send('PUT', below, body(plan)),
    send('PUT', below, body(plans.async)),
    send('PUT', `${path}/service_bindings/other`, { predecessor_binding_id: binding }),
    send('DELETE', below),
    send('DELETE', `${below}${query(plans.sync)}`),
    send('DELETE', `${below}${query(plan)}`),
    send('DELETE', `${below}${query(plans.async)}`),
    send('DELETE', path),
    send('DELETE', `${path}${query(plans.sync)}`),
    send('DELETE', `${path}${query(plans.either, ALSO_ASYNC)}`),
    send('DELETE', `${path}${query(plan)}`),
    send('DELETE', `${path}${query(plan, ALSO_ASYNC)}`),
    send('DELETE', `${path}${query(plans.async)}`),
    // On an instance of its own, with what belongs to the other.
    send('PUT', bindingPath('mine', 'second'), { predecessor_binding_id: binding }),
    send('PUT', bindingPath('mine', 'second'), body(plan)),
    send('PATCH', instancePath('mine'), body(plan)),
    get(`${instancePath('mine')}/last_operation?operation=${operation}`),
    get(`${bindingPath('mine', binding)}/last_operation?operation=${operation}`),
    get(bindingPath('mine', binding)),
    send('DELETE', `${bindingPath('mine', binding)}${query(plans.sync)}`),
    // Refused before it is known whether the id is taken.
    send('PUT', path, provisionBody(plan)),
    send('PUT', `${path}${ASYNC}`, provisionBody(plan)),
    send('PUT', path, provisionBody(plans.async)),
    send('PUT', path, { ...provisionBody(plans.sync), organization_guid: '' })
  ]
}

/** Provisions that only a taken id can keep from anything: all of them 409. */
function takes(platform: Platform, { instance }: Known) {
  const put = (body: object, query = '') => platform.provision(instance, body, query)
  return [
    put(provisionBody(plans.sync)),
    // The very request that made one of them.
    put(provisionBody(plans.either, hold('provision')), ASYNC),
    put(provisionBody(plans.either, hold('provision'))),
    put(provisionBody(plans.async), ASYNC),
    put(provisionBody(plans.sync, { parameters: { size: 'big' } })),
    put(provisionBody(plans.sync, { maintenance_info: { version: '9.9.9' } })),
    put(provisionBody(FULL))
  ]
}

/** Verbs that wait until the test ends when the parameters of their resource name them under `hold`. */
function holding(t: TestContext) {
  const work = gate()
  t.after(work.open)
  const held = (verb: string) => async (task: AnyTask) => {
    const { hold } = 'parameters' in task ? task.parameters : {}
    if (hold === 'until halted' && verb === 'provision') await untilAborted(task)
    if (hold === 'failing' && verb === 'provision') throw new Rejected(400, 'It cannot be done.')
    if (hold === verb || (hold === 'until halted' && verb === 'deprovision')) await work.opened
  }
  const verbs = ['provision', 'update', 'deprovision', 'bind'] as const
  return { work, provider: new ScriptedProvider(Object.fromEntries(verbs.map((verb) => [verb, held(verb)]))) }
}

/** A platform that sees everything, and one that does not see the plan `hidden`. */
async function scene(t: TestContext, testStore: TestStore) {
  const { work, provider } = holding(t)
  const schema = { $schema: 'http://json-schema.org/draft-04/schema#', properties: { size: { type: 'integer' } } }
  const schemas = {
    service_instance: { create: { parameters: schema }, update: { parameters: schema } }
  }
  const rotatable = { binding_rotatable: true }
  const all = [
    planOf(plans.sync, { mode: 'sync' }, { ...rotatable, schemas, maintenance_info: { version: '1.0.0' } }),
    planOf(plans.either, { mode: 'either' }, rotatable),
    planOf(plans.async, { mode: 'async' }),
    planOf(FULL, { mode: 'sync' }),
    planOf(hidden, { mode: 'either' }, rotatable)
  ]
  const rules = {
    catalog: [{ service: 'example', plans: [plans.sync, plans.either, plans.async, FULL] }],
    quotas: [{ service: 'example', plan: FULL, instances: 0 }]
  }
  const platformRules = (platform: string) => (platform === 'two' ? rules : {})
  const options = { testStore, catalog: catalogOf(all), providers: [provider], platformRules }
  const [one, two] = await twoPlatforms(t, options)
  return { work, provider, one, two }
}

const hold = (verb: string) => ({ parameters: { hold: verb } })

/** One instance of the platform in each state, with the operation that it was told of last. */
async function everyState(one: Platform, provider: ScriptedProvider): Promise<Record<string, Known>> {
  const put = (id: string, planId: string, more: object) => one.provision(id, provisionBody(planId, more), ASYNC)
  const made = async (id: string, more: object = {}) => {
    const operation = accepted(await put(id, hidden, more))
    answered(await one.ended(instancePath(id), operation), 200)
    return operation
  }
  const known = (instance: string, operation: string) => ({ instance, binding: 'bind-a', operation, plan: hidden })
  const remove = async (id: string, planId = hidden) =>
    accepted(await one.deprovision(id, deleteQuery(planId, ALSO_ASYNC)))

  const ready = known('i-1', await made('i-1'))
  answered(await one.bind('i-1', 'bind-a', bindBody(hidden)), 201)
  const creating = known('i-2', accepted(await put('i-2', plans.either, hold('provision'))))
  await made('i-3')
  const updating = known('i-3', accepted(await one.update('i-3', hold('update'), ASYNC)))
  await made('i-4', hold('deprovision'))
  const deleting = known('i-4', await remove('i-4'))
  const failed = known('i-5', await made('i-5', hold('failing')))
  await made('i-6')
  const binding = known('i-6', accepted(await one.bind('i-6', 'bind-a', bindBody(hidden, hold('bind')), ASYNC)))
  accepted(await put('i-7', plans.either, hold('until halted')))
  await until('the create is at work', () => provider.tasks.some(({ instanceId }) => instanceId === 'i-7'))
  const halted = known('i-7', await remove('i-7', plans.either))
  await made('i-8')
  const removing = known('i-8', await remove('i-8'))
  answered(await one.ended(instancePath('i-8'), removing.operation), 200, succeeded)
  return { ready, creating, updating, deleting, failed, binding, halted, removed: removing }
}

for (const testStore of testStores) {
  test(`any verb: what another platform has is, on ${testStore}, as what nobody has, in every state of it`, async (t) => {
    const { work, provider, one, two } = await scene(t, testStore)
    answered(await two.provision('mine'), 201)
    const states = await everyState(one, provider)
    const nobody: Known = { instance: 'i-9', binding: 'bind-x', operation: randomUUID(), plan: absent }
    const expected = await told(probes(two, nobody), nobody)
    for (const [state, known] of Object.entries(states)) {
      const answers = await told(probes(two, known), known)
      for (const [index, answer] of answers.entries()) assert.deepEqual(answer, expected[index], `${state}, ${index}`)
    }

    const { removed: _removed, ...taken } = states
    const description = 'A service instance "<instance>" exists already, with other attributes.'
    const conflicts = await told(takes(two, states.ready ?? nobody), states.ready ?? nobody)
    for (const [state, known] of Object.entries(taken)) {
      const answers = await told(takes(two, known), known)
      for (const [index, answer] of answers.entries()) {
        assert.deepEqual(answer, conflicts[0], `${state}, ${index}`)
        assert.equal(answer.body, JSON.stringify({ description }))
      }
    }

    assert.deepEqual(
      provider.tasks.filter(({ platform }) => platform === 'two').map(({ instanceId }) => instanceId),
      ['mine']
    )
    answered(await two.fetch('mine'), 200, { service_id: service, plan_id: plans.sync, maintenance_info: version })
    work.open()
    const ends = Object.values(states).flatMap(({ instance, binding, operation }) => [
      one.ended(instancePath(instance)),
      ...(operation === states.binding?.operation ? [one.ended(bindingPath(instance, binding), operation)] : [])
    ])
    const outcomes = (await Promise.all(ends)).map((reply) => answered(reply, 200).state)
    assert.deepEqual(outcomes.toSorted(), [...Array(1).fill('failed'), ...Array(8).fill('succeeded')])
    answered(await one.fetchBinding('i-1', 'bind-a'), 200)
  })

  test(`PUT instance: of two platforms at once, on ${testStore}, one gets the id and the other 409`, async (t) => {
    const { one, two, provider } = await scene(t, testStore)
    const numbers = Array.from({ length: 12 }, (_, index) => index)
    const rounds = await Promise.all(
      numbers.map((index) => Promise.all([one, two].map((platform) => platform.provision(`i-${index}`))))
    )
    for (const [index, replies] of rounds.entries()) {
      assert.deepEqual(statusCounts(replies), { 201: 1, 409: 1 })
      const winner = replies[0]?.statusCode === 201 ? one : two
      answered(await winner.fetch(`i-${index}`), 200)
      refused(await (winner === one ? two : one).fetch(`i-${index}`), 404, /no service instance/)
    }
    assert.equal(provider.calls.length, numbers.length)
  })

  test(`any verb: an id that another platform has taken over, on ${testStore}, is answered for as before`, async (t) => {
    const { one, two } = await scene(t, testStore)
    answered(await two.provision('i-1'), 201)
    answered(await two.bind('i-1', 'bind-a'), 201)
    answered(await two.unbind('i-1', 'bind-a'), 200)
    const operation = accepted(await two.update('i-1', { plan_id: plans.either, parameters: { a: 1 } }, ASYNC))
    answered(await two.ended(instancePath('i-1'), operation), 200, succeeded)
    answered(await two.deprovision('i-1', deleteQuery(plans.either)), 200)
    const known = { instance: 'i-1', binding: 'bind-a', operation, plan: absent }
    const before = await told(probes(two, known), known)

    answered(await one.provision('i-1'), 201)
    answered(await one.bind('i-1', 'bind-a'), 201)
    assert.deepEqual(await told(probes(two, known), known), before)
    answered(await one.deprovision('i-1'), 200)
    assert.deepEqual(await told(probes(two, known), known), before)
  })
}

test('GET docs, GET readyz: say the same whoever asks, and nothing of the catalog or of what runs', async (t) => {
  const { one, two, provider } = await scene(t, 'memory')
  const paths = ['/docs', '/docs/json', '/docs/yaml', '/readyz', '/healthz', '/nowhere', '/v2/nowhere']
  const ask = (platform: Platform) => Promise.all(paths.map((path) => platform.get(path)))
  const plain = (replies: LightMyRequestResponse[]) =>
    replies.map(({ statusCode, body, headers: { date: _date, ...rest } }) => ({ statusCode, body, rest }))
  const before = plain(await ask(two))
  await everyState(one, provider)
  assert.deepEqual(plain(await ask(two)), before)
  assert.deepEqual(plain(await ask(one)), before)
  const anonymous = await Promise.all(paths.slice(0, 5).map((url) => two.app.inject({ url })))
  assert.deepEqual(plain(anonymous), before.slice(0, 5))
  for (const { body } of before) assert.doesNotMatch(body, /plan-|i-[1-9]|bind-a|example/)
})
