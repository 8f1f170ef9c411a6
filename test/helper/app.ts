import { randomBytes } from 'node:crypto'
import type { TestContext } from 'node:test'
import Fastify, { type FastifyInstance, type LightMyRequestResponse } from 'fastify'
import type { CatalogSource } from '../../schemas/catalog.ts'
import { type OpenServiceBrokerOptions, openServiceBroker } from '../../src/app.ts'
import { serverOptions } from '../../src/server.ts'
import { testPostgres } from './postgres.ts'

/** Where the broker under test keeps its state. */
export type TestStore = 'memory' | 'postgres'

/** The two stores; what holds on one must hold on the other. */
export const testStores: readonly TestStore[] = ['memory', 'postgres']

export const credentials = { username: 'platform', password: 'p4ss:w√ord' }

/** Headers of a platform that does everything right. */
export const headers = {
  authorization: basic(credentials.username, credentials.password),
  'x-broker-api-version': '2.17'
}

export function basic(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

/** Ids of {@link testCatalog}. */
export const ids = {
  service: 'service-1',
  other: 'service-2',
  plans: {
    sync: 'plan-sync',
    async: 'plan-async',
    either: 'plan-either',
    slow: 'plan-slow',
    failing: 'plan-failing',
    other: 'plan-other'
  }
} as const

/** A catalog of the provider `example` with a plan for each manner of answering. */
export function testCatalog(): CatalogSource {
  const plan = (id: string, name: string, broker: object) => ({ id, name, description: name, 'x-broker': broker })
  return {
    services: [
      {
        id: ids.service,
        name: 'example',
        description: 'A service for tests',
        bindable: true,
        instances_retrievable: true,
        bindings_retrievable: true,
        plan_updateable: true,
        allow_context_updates: true,
        'x-broker': { provider: 'example' },
        plans: [
          { ...plan(ids.plans.sync, 'sync', { mode: 'sync' }), binding_rotatable: true },
          plan(ids.plans.async, 'async', { mode: 'async' }),
          plan(ids.plans.either, 'either', { mode: 'either', options: { delay_ms: 50 } }),
          plan(ids.plans.slow, 'slow', { mode: 'either', options: { delay_ms: 60_000 } }),
          plan(ids.plans.failing, 'failing', { mode: 'either', options: { fail_on: ['provision', 'update'] } })
        ]
      },
      {
        id: ids.other,
        name: 'other',
        description: 'Another service',
        bindable: false,
        'x-broker': { provider: 'example' },
        plans: [plan(ids.plans.other, 'only', { mode: 'sync' })]
      }
    ]
  }
}

export interface TestAppOptions extends Partial<OpenServiceBrokerOptions> {
  readonly testStore?: TestStore
  readonly prefix?: string
}

/** A broker of its own for one test, closed by itself. */
export async function buildApp(t: TestContext, options: TestAppOptions = {}): Promise<FastifyInstance> {
  const { testStore = 'memory', ...rest } = options
  let late = false
  const stream = {
    write: (line: string) => {
      late ||= line.includes(NOT_READY)
    }
  }
  const app = Fastify({ ...serverOptions, logger: { level: 'warn', stream } })
  t.after(() => app.close())
  await app.register(openServiceBroker, {
    catalog: testCatalog(),
    auth: credentials,
    ...(testStore === 'memory' ? {} : await postgresStore()),
    ...rest
  })
  await app.ready()
  if (late) await whenBegun(app, rest.prefix)
  return app
}

/** Logged by a broker that takes longer to start than the app waits, as on a busy machine. */
export const NOT_READY = 'the broker is not ready yet'

/** Waits until the broker has started. Until then it answers requests with 503. */
export async function whenBegun(app: FastifyInstance, prefix = ''): Promise<void> {
  for (const end = Date.now() + 60_000; (await app.inject({ url: `${prefix}/readyz` })).statusCode !== 200; ) {
    if (Date.now() > end) throw new Error('The broker has not started within 60 s.')
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Options of a broker whose state is in an empty database of a real server. */
export async function postgresStore(): Promise<Pick<OpenServiceBrokerOptions, 'store' | 'encryptionKeys'>> {
  const server = await testPostgres()
  return { store: { connectionString: await server.createDatabase() }, encryptionKeys: newEncryptionKeys() }
}

export function newEncryptionKeys(): string {
  return `test:${randomBytes(32).toString('base64')}`
}

/** A call of a platform to the core; its time counts from the moment it is used. */
export function testCall<Fields extends object>(fields: Fields = {} as Fields) {
  return {
    platform: 'cf',
    acceptsIncomplete: false,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    ...fields,
    get receivedAt() {
      return performance.now()
    }
  }
}

/** Body of a provision of the given plan. */
export function provisionBody(planId: string = ids.plans.sync, more: object = {}) {
  return { service_id: ids.service, plan_id: planId, organization_guid: 'org', space_guid: 'space', ...more }
}

/** Body of a bind of an instance of the given plan. */
export function bindBody(planId: string = ids.plans.sync, more: object = {}) {
  return { service_id: ids.service, plan_id: planId, ...more }
}

/** Query of a delete of something of the given plan. */
export function deleteQuery(planId: string = ids.plans.sync, more = ''): string {
  return `?service_id=${ids.service}&plan_id=${planId}${more}`
}

/** Polls `last_operation` until it is not `in progress` any more; fails after 20 s. */
export async function pollUntilEnded(app: FastifyInstance, url: string): Promise<LightMyRequestResponse> {
  for (const end = Date.now() + 20_000; ; ) {
    const reply = await app.inject({ url, headers })
    if (reply.statusCode !== 200 || reply.json().state !== 'in progress') return reply
    if (Date.now() > end) throw new Error(`still in progress after 20 s: ${url} ${reply.body}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
