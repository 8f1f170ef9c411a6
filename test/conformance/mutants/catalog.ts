import type { CatalogSource } from '../../../schemas/catalog.ts'

const parameters = {
  $schema: 'http://json-schema.org/draft-04/schema#',
  type: 'object',
  properties: { size: { type: 'integer', minimum: 1, maximum: 9 }, note: { type: 'string', maxLength: 20 } },
  additionalProperties: false
}

const schemas = {
  service_instance: { create: { parameters }, update: { parameters } },
  service_binding: { create: { parameters } }
}

/** A catalog that makes as many checks apply as one can: everything retrievable, rotatable, updateable, with schemas. */
export function richCatalog(): CatalogSource {
  const plan = (id: string, more: object = {}) => ({
    id: `mutants-${id}`,
    name: id,
    description: `The plan ${id}`,
    binding_rotatable: true,
    schemas,
    maintenance_info: { version: '1.2.0', description: 'One' },
    'x-broker': { mode: 'either' as const, endpoints: true, options: { delay_ms: 60 } },
    ...more
  })
  return {
    services: [
      {
        id: 'mutants-service',
        name: 'mutants',
        description: 'A service to be broken',
        bindable: true,
        instances_retrievable: true,
        bindings_retrievable: true,
        plan_updateable: true,
        allow_context_updates: true,
        'x-broker': { provider: 'example' },
        plans: [
          plan('small'),
          plan('large'),
          plan('async', { 'x-broker': { mode: 'async', options: { delay_ms: 60 } } }),
          plan('sync', { 'x-broker': { mode: 'sync' } })
        ]
      },
      {
        id: 'mutants-other',
        name: 'mutants-other',
        description: 'Another service',
        bindable: false,
        'x-broker': { provider: 'example' },
        plans: [{ id: 'mutants-only', name: 'only', description: 'The only plan' }]
      }
    ]
  }
}
