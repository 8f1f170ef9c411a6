import type { CatalogSource } from '../../schemas/catalog.ts'
import { ids } from '../helper/app.ts'

/** Beside those of `ids`: a plan with schemas for its parameters and a maintenance version. */
export const STRICT_PLAN = 'plan-strict'

const plan = (id: string, broker: object, more: object = {}) => ({
  id,
  name: id,
  description: id,
  'x-broker': broker,
  ...more
})

const parameters = {
  $schema: 'http://json-schema.org/draft-07/schema#',
  type: 'object',
  properties: {
    name: { type: 'string', minLength: 1, maxLength: 20, pattern: '^([a-z]+)+$' },
    since: { type: 'string', format: 'date-time' },
    link: { type: 'string', format: 'uri' },
    size: { type: 'integer', minimum: 1, maximum: 9 },
    tags: { type: 'array', items: { type: 'string' }, uniqueItems: true },
    tree: { $ref: '#/definitions/tree' }
  },
  additionalProperties: false,
  definitions: {
    tree: {
      type: 'object',
      anyOf: [
        { properties: { a: { $ref: '#/definitions/tree' } } },
        { properties: { a: { $ref: '#/definitions/tree' } } }
      ]
    }
  }
}
const schemas = {
  service_instance: { create: { parameters }, update: { parameters } },
  service_binding: { create: { parameters } }
}

/**
 * Offerings of the provider `example`, none of which fails: a 5xx is the broker's own.
 * @param slowMs how long each verb of the plan `slow` takes
 */
export function fuzzCatalog(slowMs: number): CatalogSource {
  return {
    services: [
      {
        id: ids.service,
        name: 'example',
        description: 'A service to be abused',
        bindable: true,
        instances_retrievable: true,
        bindings_retrievable: true,
        plan_updateable: true,
        allow_context_updates: true,
        'x-broker': { provider: 'example' },
        plans: [
          plan(ids.plans.sync, { mode: 'sync' }, { binding_rotatable: true }),
          plan(ids.plans.async, { mode: 'async' }),
          plan(ids.plans.either, { mode: 'either', options: { delay_ms: 20 } }),
          plan(ids.plans.slow, { mode: 'async', options: { delay_ms: slowMs } }),
          plan(
            STRICT_PLAN,
            { mode: 'sync' },
            { schemas, maintenance_info: { version: '1.0.0', description: 'the first' } }
          )
        ]
      },
      {
        id: ids.other,
        name: 'other',
        description: 'Another service',
        bindable: false,
        'x-broker': { provider: 'example' },
        plans: [plan(ids.plans.other, { mode: 'sync' })]
      }
    ]
  }
}
