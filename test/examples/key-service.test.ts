import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, test } from 'node:test'
import Fastify from 'fastify'
import { buildKeyServer } from '../../examples/key-service/key-server.ts'
import { keyServiceProvider } from '../../examples/key-service/provider.ts'
import { OsbClient } from '../../src/client/client.ts'
import { OsbError } from '../../src/client/errors.ts'
import { injectTransport } from '../../src/client/transport.ts'
import { waitForOperation } from '../../src/client/wait.ts'
import { openServiceBroker, serverOptions } from '../../src/index.ts'
import { testProvider, wrap } from '../../src/testing/index.ts'
import { credentials } from '../helper/app.ts'

const token = 'of the administrator'
const keyServer = await buildKeyServer(token)
after(() => keyServer.close())
const url = await keyServer.listen({ host: '127.0.0.1', port: 0 })
const ids = { service_id: '3d5b5a5c-9f0e-4a7e-8b0b-5b1d5f1c2a60', plan_id: '0e8f7c55-6a53-4f4b-9a4f-2d6b0c9d7e11' }

testProvider(test, {
  provider: keyServiceProvider({ url, token, ...wrap({ fetch }) }),
  options: { max_keys: 4 },
  update: { options: { max_keys: 5 } },
  leftovers,
  works: async ({ key }) => (await whoami(key)).status === 200
})

test('example key-service: a key is made, works, is one of two, and ends with its binding', async (t) => {
  const app = Fastify({ ...serverOptions })
  t.after(() => app.close())
  await app.register(openServiceBroker, {
    catalog: join(import.meta.dirname, '../../examples/key-service/catalog.yaml'),
    auth: credentials,
    providers: [keyServiceProvider({ url, token })]
  })
  const client = new OsbClient({ transport: injectTransport(app), ...credentials })
  const instanceId = 'i-1'
  const { status, operation } = await client.provision(instanceId, { ...ids, organization_guid: 'o', space_guid: 's' })
  assert.equal(status, 202)
  await waitForOperation(client, { instanceId }, { operation })

  const bind = (bindingId: string) => client.bind({ instanceId, bindingId }, ids, { acceptsIncomplete: false })
  const { credentials: given = {} } = (await bind('b-1')).body
  assert.equal(given.uri, `${url}/whoami`)
  const [space] = await leftovers()
  assert.deepEqual(await (await whoami(given.key)).json(), { space })

  await bind('b-2')
  await assert.rejects(bind('b-3'), (error) => {
    assert.ok(error instanceof OsbError)
    assert.equal(error.status, 400)
    assert.equal(error.message, 'The plan allows no more keys: remove a binding first.')
    return true
  })

  await client.unbind({ instanceId, bindingId: 'b-1' }, ids, { acceptsIncomplete: false })
  assert.equal((await whoami(given.key)).status, 401)
  await client.deprovision(instanceId, ids, { acceptsIncomplete: false })
  assert.deepEqual(await leftovers(), [])
})

test('example key-service: readyz says that the key service does not let the provider in', async (t) => {
  const app = Fastify({ ...serverOptions })
  t.after(() => app.close())
  const providers = [keyServiceProvider({ url, token: 'another' })]
  const catalog = join(import.meta.dirname, '../../examples/key-service/catalog.yaml')
  await app.register(openServiceBroker, { catalog, auth: credentials, providers })
  assert.equal((await app.inject('/readyz')).statusCode, 503)
})

/** Names of the spaces and keys that there are. */
async function leftovers(): Promise<string[]> {
  const answer = await fetch(`${url}/spaces`, { headers: { authorization: `Bearer ${token}` } })
  const spaces: { space: string; keys: string[] }[] = JSON.parse(await answer.text())
  return spaces.flatMap(({ space, keys }) => [space, ...keys])
}

function whoami(key: unknown): Promise<Response> {
  return fetch(`${url}/whoami`, { headers: { 'x-api-key': String(key) } })
}
