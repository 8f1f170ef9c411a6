import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import Fastify, { type FastifyInstance } from 'fastify'
import { openServiceBroker, type ServiceProvider, serverOptions } from 'fastify-open-service-broker'
import { injectTransport, OsbClient, waitForOperation } from 'fastify-open-service-broker/client'
import { runConformance } from 'fastify-open-service-broker/conformance'
import { type CatalogSource, ProvisionRequest } from 'fastify-open-service-broker/schemas'
import { providerContract, wrap } from 'fastify-open-service-broker/testing'

const Options = Type.Object({ seats: Type.Integer({ minimum: 1, default: 3 }) }, { additionalProperties: false })
type Options = Static<typeof Options>

/** What the provider makes. */
const tables = new Map<string, Options['seats']>()
const floor = {
  async put(name: string, seats: number) {
    tables.set(name, seats)
  },
  async remove(name: string) {
    tables.delete(name)
  }
}

function tableProvider(api: typeof floor): ServiceProvider {
  return {
    name: 'tables',
    options: Options,
    mode: 'either',
    async provision(task) {
      const state = task.state ?? { table: crypto.randomUUID() }
      await task.saveState(state)
      await api.put(String(state.table), Value.Parse(Options, task.options).seats)
      return {}
    },
    async deprovision(task) {
      if (task.state !== undefined) await api.remove(String(task.state.table))
    },
    async bind(task) {
      return { credentials: { table: task.instance.state?.table } }
    },
    async unbind() {}
  }
}

const ids = { service_id: 'offering-of-tables', plan_id: 'plan-small' }
const catalog: CatalogSource = {
  services: [
    {
      id: ids.service_id,
      name: 'tables',
      description: 'Tables to sit at',
      bindable: true,
      instances_retrievable: true,
      bindings_retrievable: true,
      'x-broker': { provider: 'tables' },
      plans: [{ id: ids.plan_id, name: 'small', description: 'A small table', 'x-broker': { options: { seats: 2 } } }]
    }
  ]
}

const auth = { username: 'platform', password: 'a password' }
const app: FastifyInstance = Fastify({ ...serverOptions })
app.get('/', async () => ({ hello: 'world' }))
await app.register(openServiceBroker, { catalog, auth, providers: [tableProvider(floor)], store: 'memory' })

const transport = injectTransport(app)
const client = new OsbClient({ transport, ...auth })
const body: ProvisionRequest = { ...ids, organization_guid: 'org', space_guid: 'space' }
const answer = await client.provision('i-1', body)
if (answer.status === 202) {
  await waitForOperation(client, { instanceId: 'i-1' }, { operation: answer.operation, timeoutMs: 10_000 })
}
const bound = await client.bind({ instanceId: 'i-1', bindingId: 'b-1' }, ids, { acceptsIncomplete: false })
const seats = tables.get(String(bound.body.credentials?.table))

const contract = providerContract({
  provider: tableProvider(wrap(floor)),
  options: { seats: 4 },
  leftovers: async () => [...tables.keys()]
})
for (const check of contract) await check.run()

const { conforms, results } = await runConformance({ transport, ...auth, only: ['catalog/', 'fetch-instance/'] })
await app.close()

console.log(
  JSON.stringify({
    valid: Value.Check(ProvisionRequest, body),
    seats,
    contract: contract.length > 10,
    conforms: conforms && results.some(({ status }) => status === 'passed')
  })
)
