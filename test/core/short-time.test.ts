import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { InjectOptions } from 'fastify'
import { Rejected, Unavailable } from '../../src/core/provider.ts'
import { bindBody, buildApp, headers, ids, provisionBody } from '../helper/app.ts'
import { type AnyTask, gate, ScriptedProvider, until } from '../helper/scripted-provider.ts'

const instance = '/v2/service_instances/i-1'
const provision = { method: 'PUT', url: instance, headers, payload: provisionBody() } as const
const bind = { method: 'PUT', url: `${instance}/service_bindings/b-1`, headers, payload: bindBody() } as const
const payload = { service_id: ids.service, plan_id: ids.plans.sync, parameters: { size: 2 } }
const update = { method: 'PATCH', url: instance, headers, payload } as const

/** Longer than the wait after which a synchronous request starts no work, and much shorter than a request may take. */
const WAIT_MS = 2_500

/** A verb that fails at its second try, when it has begun something outside: the first `undo` follows. */
function failsOnce(): (task: AnyTask) => Promise<void> {
  let tries = 0
  return async (task) => {
    tries += 1
    await task.saveState({ name: 'outside-1' })
    if (tries === 1) throw new Unavailable('The server is away.')
    if (tries === 2) throw new Rejected(400, 'There is no such size.')
  }
}

test('PUT instance: after a long wait for an undo answers 503, the next one has all of its time', async (t) => {
  const undone = gate()
  const provider = new ScriptedProvider({ provision: failsOnce(), deprovision: () => undone.opened })
  await waitsAndSucceeds(t, { provider, undone, request: provision, undo: 'deprovision', status: 201 })
})

test('PUT binding: after a long wait for an undo answers 503, the next one has all of its time', async (t) => {
  const undone = gate()
  const provider = new ScriptedProvider({ bind: failsOnce(), unbind: () => undone.opened })
  await waitsAndSucceeds(t, { provider, undone, request: bind, undo: 'unbind b-1', status: 201 })
})

test('PATCH instance: after a long wait for an undo answers 503, the next one has all of its time', async (t) => {
  const undone = gate()
  const fails = failsOnce()
  const restores = (task: AnyTask) => 'previous' in task && task.parameters.size === undefined
  const provider = new ScriptedProvider({ update: (task) => (restores(task) ? undone.opened : fails(task)) })
  await waitsAndSucceeds(t, { provider, undone, request: update, undo: 'update', calls: 3, status: 200 })
})

test('PUT binding: with accepts_incomplete, a long wait for an undo answers 201 or 202', async (t) => {
  const undone = gate()
  const provider = new ScriptedProvider({ bind: failsOnce(), unbind: () => undone.opened })
  const patient = { ...bind, url: `${bind.url}?accepts_incomplete=true` }
  const { late } = await afterLongWait(t, { provider, undone, request: bind, repeated: patient, undo: 'unbind b-1' })
  assert.match(String(late.statusCode), /^20[12]$/)
})

interface Scene {
  readonly provider: ScriptedProvider
  readonly undone: ReturnType<typeof gate>
  readonly request: InjectOptions
  readonly repeated?: InjectOptions
  /** The call that the failed request leads to. */
  readonly undo: string
  /** How often the verb of the undo has been called then. Default: once. */
  readonly calls?: number
}

async function waitsAndSucceeds(
  t: TestContext,
  { status, ...scene }: Scene & { readonly status: number }
): Promise<void> {
  const { app, late } = await afterLongWait(t, scene)
  assert.equal(late.statusCode, 503, late.body)
  assert.match(late.json().description, /has just finished an earlier operation/)
  assert.equal(late.headers['retry-after'], '1')
  assert.equal(scene.provider.calls.at(-1), scene.undo)
  const next = await app.inject(scene.request)
  assert.equal(next.statusCode, status, next.body)
}

/** Lets a request fail, and repeats it while its undo takes long. */
async function afterLongWait(
  t: TestContext,
  { provider, undone, request, repeated = request, undo, calls = 1 }: Scene
) {
  const app = await buildApp(t, { providers: [provider], syncDeadlineMs: 8_000 })
  if (request !== provision) assert.equal((await app.inject(provision)).statusCode, 201)
  assert.equal((await app.inject(request)).statusCode, 400)
  await until('the undo', () => provider.calls.filter((call) => call === undo).length === calls)
  const waiting = app.inject(repeated)
  await sleep(WAIT_MS)
  undone.open()
  return { app, late: await waiting }
}
