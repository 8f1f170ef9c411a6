import { Type } from '@sinclair/typebox'
import type { CatalogSource } from '../../../schemas/catalog.ts'
import { checkCatalog } from '../../../src/core/catalog/index.ts'
import type { ServiceProvider } from '../../../src/core/provider.ts'

type Place = readonly (string | number)[]

const nothing = async () => ({})

/** Can do everything; takes options, one of them with a default. */
export const able: ServiceProvider = {
  name: 'able',
  options: Type.Object(
    { size: Type.Integer({ minimum: 1, default: 10 }), zone: Type.Optional(Type.String()) },
    { additionalProperties: false }
  ),
  mode: 'sync',
  provision: nothing,
  update: nothing,
  deprovision: async () => {},
  bind: nothing,
  unbind: async () => {}
}

/** Makes and removes instances, and no more. */
export const plain: ServiceProvider = {
  name: 'plain',
  options: Type.Object({}, { additionalProperties: false }),
  mode: 'async',
  provision: nothing,
  deprovision: async () => {}
}

export const choice = { providers: [able, plain], defaultProvider: 'able' }

/** A catalog without errors and warnings: two offerings, the first with two plans. */
export function goodCatalog(): CatalogSource {
  return {
    services: [
      {
        id: 's-1',
        name: 'database',
        description: 'Databases',
        bindable: true,
        tags: ['a', 'b'],
        bindings_retrievable: true,
        instances_retrievable: true,
        'x-broker': { provider: 'able' },
        plans: [
          { id: 'p-1', name: 'small', description: 'Small', 'x-broker': { options: { size: 5 } } },
          { id: 'p-2', name: 'large', description: 'Large', free: false }
        ]
      },
      {
        id: 's-2',
        name: 'queue',
        description: 'Queues',
        bindable: false,
        'x-broker': { provider: 'plain' },
        plans: [{ id: 'p-3', name: 'small', description: 'Small' }]
      }
    ]
  }
}

/** {@link goodCatalog} with one value replaced, or removed when it is `undefined`. */
export function catalogWith(at: Place, value: unknown): CatalogSource {
  const catalog = goodCatalog()
  let parent: unknown = catalog
  for (const key of at.slice(0, -1)) {
    if (!isRecord(parent)) throw new Error(`There is nothing at ${at.join('.')}.`)
    parent[key] ??= {}
    parent = parent[key]
  }
  const last = at.at(-1)
  if (!isRecord(parent) || last === undefined) throw new Error(`There is nothing at ${at.join('.')}.`)
  if (value === undefined) delete parent[last]
  else parent[last] = value
  return catalog
}

/** Where the schema for the create of the first plan stands, as keys and as written in a fault. */
export const SCHEMA_AT: Place = ['services', 0, 'plans', 0, 'schemas', 'service_instance', 'create', 'parameters']
export const SCHEMA_PATH = 'services[0:database].plans[0:small].schemas.service_instance.create.parameters'

export const DRAFT_IDS = {
  '04': 'http://json-schema.org/draft-04/schema#',
  '06': 'http://json-schema.org/draft-06/schema#',
  '07': 'http://json-schema.org/draft-07/schema#',
  '2019-09': 'https://json-schema.org/draft/2019-09/schema',
  '2020-12': 'https://json-schema.org/draft/2020-12/schema'
}

/** {@link goodCatalog} with a schema for the create of its first plan. */
export function catalogWithSchema(schema: Record<string, unknown>, draft: keyof typeof DRAFT_IDS = '04') {
  return catalogWith(SCHEMA_AT, { $schema: DRAFT_IDS[draft], ...schema })
}

export function errorsOf(catalog: unknown) {
  return checkCatalog(catalog, choice).errors
}

export function warningsOf(catalog: unknown) {
  return checkCatalog(catalog, choice).warnings
}

function isRecord(value: unknown): value is Record<string | number, unknown> {
  return typeof value === 'object' && value !== null
}
