import type { Catalog, ServiceOffering, ServicePlan } from '../../../schemas/catalog.ts'
import { OsbClient, type PlanIds } from '../../client/client.ts'
import { OsbError } from '../../client/errors.ts'
import { type Arguments, type Command, UsageError } from '../command.ts'
import { connectionHelp, connectionOptions, connectionTo, textOf } from '../connection.ts'

const DEFAULT_URL = 'http://127.0.0.1:8080'

/** Options of every command of the client. */
export const clientOptions = {
  ...connectionOptions,
  url: { type: 'string' },
  'api-version': { type: 'string' },
  output: { type: 'string', short: 'o' }
} satisfies Command['options']

export const clientHelp = [
  `  --url URL            of the broker, without /v2; default: OSB_URL, else ${DEFAULT_URL}`,
  connectionHelp,
  '  --api-version TEXT   sent as X-Broker-API-Version; default: 2.17'
].join('\n')

/** Options of the commands that have to know offering and plan of an instance. */
export const planOptions = { service: { type: 'string' }, plan: { type: 'string' } } satisfies Command['options']

export const planHelp =
  '  --service, --plan    by name or id; needed where the broker does not let instances be fetched'

/** An offering and one of its plans. */
export interface Entry {
  readonly service: ServiceOffering
  readonly plan: ServicePlan
}

/** The client that the options and the environment describe. */
export function clientFrom(values: Arguments['values']): OsbClient {
  const address = textOf(values, 'url') ?? (process.env.OSB_URL || DEFAULT_URL)
  return new OsbClient({ ...connectionTo(address, values), apiVersion: textOf(values, 'api-version') })
}

/** Where the client looks, for the line that says how to go on. */
export function sameUrl(values: Arguments['values']): string {
  const url = textOf(values, 'url')
  return url === undefined ? '' : ` --url ${url}`
}

/** @throws {UsageError} with what there is, when the catalog does not hold them */
export function entryNamed(catalog: Catalog, serviceName: string, planName: string): Entry {
  const service = named(catalog.services, serviceName)
  if (service === undefined) throw unknown(`service offering "${serviceName}"`, catalog.services)
  const plan = named(service.plans, planName)
  if (plan === undefined) throw unknown(`plan "${planName}" of "${service.name}"`, service.plans)
  return { service, plan }
}

/** Offering and plan of an instance: as the options name them, else as the broker tells. */
export async function idsOf(client: OsbClient, instanceId: string, values: Arguments['values']): Promise<PlanIds> {
  const [service, plan] = [textOf(values, 'service'), textOf(values, 'plan')]
  if (service !== undefined && plan !== undefined) {
    const entry = entryNamed(await client.catalog(), service, plan)
    return { service_id: entry.service.id, plan_id: entry.plan.id }
  }
  const { service_id, plan_id } = await fetched(client, instanceId)
  if (service_id !== undefined && plan_id !== undefined) return { service_id, plan_id }
  throw new UsageError(`The broker does not tell the plan of "${instanceId}": name --service and --plan.`)
}

async function fetched(client: OsbClient, instanceId: string): Promise<Partial<PlanIds>> {
  try {
    return await client.fetchInstance(instanceId)
  } catch (error) {
    if (!(error instanceof OsbError) || error.status !== 404) throw error
    throw new UsageError(`${error.message} If it is there all the same, name --service and --plan.`, { cause: error })
  }
}

function named<Item extends { id: string; name: string }>(items: readonly Item[], wanted: string): Item | undefined {
  return items.find(({ name }) => name === wanted) ?? items.find(({ id }) => id === wanted)
}

function unknown(what: string, items: readonly { name: string }[]): UsageError {
  const names = items.map(({ name }) => name).join(', ')
  return new UsageError(`The catalog has no ${what}. It has: ${names === '' ? 'nothing' : names}.`)
}
