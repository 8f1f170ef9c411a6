import assert from 'node:assert/strict'
import { test } from 'node:test'
import { readEnvironment } from '../../src/config.ts'
import { startBroker } from '../../src/server.ts'
import { basic } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'

test('startBroker: a given provider replaces the built-in provider of the same name', async (t) => {
  const provider = new ScriptedProvider()
  const broker = await startBroker(
    readEnvironment({
      BROKER_STORAGE: 'memory',
      BROKER_PORT: '0',
      BROKER_USERNAME: 'admin',
      BROKER_PASSWORD: 'secret',
      BROKER_DEFAULT_PROVIDER: 'example',
      BROKER_CATALOG_PATH: `${import.meta.dirname}/../fixtures/seed-catalog.yaml`,
      LOG_LEVEL: 'silent'
    }),
    { providers: [provider] }
  )
  t.after(() => broker.stop())
  const [entry] = broker.catalog.plans
  assert.ok(entry !== undefined)
  const reply = await fetch(`${broker.url}/v2/service_instances/i-1?accepts_incomplete=true`, {
    method: 'PUT',
    headers: {
      authorization: basic('admin', 'secret'),
      'x-broker-api-version': '2.17',
      'content-type': 'application/json'
    },
    body: JSON.stringify({
      service_id: entry.service.id,
      plan_id: entry.plan.id,
      organization_guid: 'org',
      space_guid: 'space'
    })
  })
  assert.deepEqual([reply.status, await reply.json()], [201, {}])
  assert.deepEqual(provider.calls, ['provision'])
})
