import Fastify, { type FastifyInstance } from 'fastify'
import { openServiceBroker } from '../../src/app.ts'
import type { OperationRecord, Store } from '../../src/core/store.ts'
import { DEFAULT_PLATFORM } from '../../src/platforms/sources.ts'
import { guardServer } from '../../src/server/guard.ts'
import { serverOptions } from '../../src/server.ts'
import { credentials, ids } from '../helper/app.ts'
import { until } from '../server/broker-process.ts'
import { fuzzCatalog } from './catalog.ts'
import { ODD_IDS } from './requests.ts'
import type { StateView } from './sequences.ts'

/** A broker in this process, whose memory store can be looked into. */
export interface MemoryBroker {
  readonly url: string
  readonly state: StateView
  /** Lines of its log that are errors. */
  readonly errors: readonly string[]
  close(): Promise<void>
}

/** Longer than any run: what is slow stays under way. */
const SLOW_MS = 3_600_000
const MAX_CONNECTIONS = 1_000

/** @param plant puts a fault into it, to see that it is found */
export async function openMemoryBroker(
  plant: (app: FastifyInstance, store: () => Store) => void = () => undefined
): Promise<MemoryBroker> {
  const errors: string[] = []
  const stream = { write: (line: string) => void errors.push(line) }
  const http = { ...serverOptions.http, requireHostHeader: false }
  const app = Fastify({ ...serverOptions, http, logger: { level: 'error', stream } })
  guardServer(app, { max: MAX_CONNECTIONS, maxPerAddress: MAX_CONNECTIONS })
  const scopes: FastifyInstance[] = []
  app.addHook('onRegister', (scope) => void scopes.push(scope))
  const store = () => {
    const scope = scopes.find((one) => one.hasDecorator('osbStorage'))
    if (scope === undefined) throw new Error('the broker has no store')
    return scope.osbStorage.store
  }
  plant(app, store)
  await app.register(openServiceBroker, { catalog: fuzzCatalog(SLOW_MS), auth: credentials })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  return { url, errors, state: { read: (prefix) => read(store(), prefix) }, close: () => app.close() }
}

async function read(store: Store, prefix: string): Promise<string> {
  const instanceIds = [`${prefix}i1`, `${prefix}i2`, ...ODD_IDS.map(decoded)]
  return await until('nothing changes by itself', async () => {
    const records = await Promise.all(instanceIds.map((instanceId) => recordsOf(store, instanceId)))
    return records.includes(undefined) ? undefined : JSON.stringify(records)
  })
}

/** `undefined` while they change. */
async function recordsOf(store: Store, instanceId: string): Promise<unknown[] | undefined> {
  const instance = await store.getInstance(instanceId)
  const operations = await store.recentOperations(DEFAULT_PLATFORM, instanceId, 1_000)
  if (operations.some((operation) => isChanging(operation, instance?.planId))) return undefined
  const settled = operations.map(({ leaseUntil: _, ageMs: __, ...operation }) => operation)
  return [instance, await store.listBindings(instanceId), settled]
}

function decoded(id: string): string {
  try {
    return decodeURIComponent(id)
  } catch {
    // No request with it comes as far as the store.
    return id
  }
}

function isChanging({ state, target, attempt }: OperationRecord, planId: string | undefined): boolean {
  const isSlow = planId === ids.plans.slow || target?.planId === ids.plans.slow
  return state === 'in progress' && (!isSlow || attempt === 0)
}
