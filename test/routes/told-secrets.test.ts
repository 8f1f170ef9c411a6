import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Writable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import { openServiceBroker } from '../../src/app.ts'
import { Rejected, Unavailable } from '../../src/core/provider.ts'
import { serverOptions } from '../../src/server.ts'
import { bindBody, credentials, deleteQuery, postgresStore, testCatalog, whenBegun } from '../helper/app.ts'
import { type AnyTask, ScriptedProvider } from '../helper/scripted-provider.ts'
import { dumpOf, leaksIn } from '../server/leaks.ts'
import { ALSO_ASYNC, answered, bindingPath, Platform, refused } from './support.ts'

/** A broker whose every line is kept, and whose provider does as the test says. */
async function scene(t: TestContext, script: ConstructorParameters<typeof ScriptedProvider>[0]) {
  let log = ''
  const stream = new Writable({
    write(chunk, _encoding, done) {
      log += String(chunk)
      done()
    }
  })
  const app = Fastify({ ...serverOptions, logger: { level: 'trace', stream } })
  t.after(() => app.close())
  const state = await postgresStore()
  await app.register(openServiceBroker, {
    catalog: testCatalog(),
    auth: credentials,
    providers: [new ScriptedProvider(script)],
    syncDeadlineMs: 1_000,
    ...state
  })
  await app.ready()
  await whenBegun(app)
  const platform = new Platform(app)
  answered(await platform.provision('i-1'), 201)
  const { store } = state
  assert.ok(typeof store === 'object' && 'connectionString' in store)
  return { platform, log: () => log, dump: () => dumpOf(store.connectionString) }
}

const newSecret = () => `${randomBytes(9).toString('base64url')}/ "${randomBytes(9).toString('base64url')}`

/** Ways of a provider to say what nobody may hear. */
const indiscretions: Record<string, (task: AnyTask, secret: string) => Promise<void>> = {
  'an error': async (_task, secret) => {
    throw new Error(`postgresql://user:${encodeURIComponent(secret)}@host refuses`, { cause: { request: [secret] } })
  },
  'a refusal': async (_task, secret) => {
    throw new Rejected(400, `The password ${secret} is not good.`)
  },
  'a passing failure': async (_task, secret) => {
    throw new Unavailable(`The server does not take ${secret}.`, { cause: new Error(secret) })
  },
  'a line of the log and a progress': async (task, secret) => {
    task.log.info({ secret, err: new Error(secret) }, `it is ${secret}`)
    await task.progress(`made ${secret}`)
    throw new Rejected(400, 'It went no further.')
  }
}

for (const [what, indiscretion] of Object.entries(indiscretions)) {
  test(`PUT binding: a password in ${what} of the provider reaches neither platform, log nor tables`, async (t) => {
    const [saved, made] = [newSecret(), newSecret()]
    const tried: string[] = []
    const { platform, log, dump } = await scene(t, {
      bind: async (task) => {
        tried.push(task.operationId)
        await task.saveState({ name: 'n', password: saved })
        task.conceal(made)
        await indiscretion(task, tried.length % 2 === 0 ? saved : made)
      }
    })
    const answers: string[] = []
    for (const binding of ['b-1', 'b-2']) {
      const reply = await platform.bind('i-1', binding)
      assert.ok(reply.statusCode >= 400, reply.body)
      answers.push(reply.body, (await platform.poll(bindingPath('i-1', binding))).body)
    }
    assert.ok(tried.length >= 2)
    const places = { answers: answers.join(), log: log(), tables: await dump() }
    const secrets = new Map([
      ['saved', saved],
      ['made', made]
    ])
    assert.deepEqual(leaksIn(places, secrets), [])
    assert.ok(Object.values(places).join().includes('(secret)'), 'nothing was taken out')
  })
}

test('DELETE binding: the password of the binding in an error of its unbind reaches neither platform nor log', async (t) => {
  const secret = newSecret()
  const { platform, log, dump } = await scene(t, {
    bind: async () => ({ credentials: { password: secret } }),
    unbind: async () => {
      throw new Rejected(500, `The password ${secret} stays.`)
    }
  })
  answered(await platform.bind('i-1', 'b-1'), 201, { credentials: { password: secret } })
  refused(
    await platform.unbind('i-1', 'b-1', deleteQuery(bindBody().plan_id, ALSO_ASYNC)),
    500,
    /^The password \(secret\) stays\.$/
  )
  assert.deepEqual(leaksIn({ log: log(), tables: await dump() }, new Map([['password', secret]])), [])
})
