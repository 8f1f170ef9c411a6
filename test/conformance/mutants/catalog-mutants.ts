import type { CatalogSource, PlanSource, ServiceSource } from '../../../schemas/catalog.ts'
import { body, type Fault } from './faults.ts'

type Loose = Record<string, unknown>

/** What a broker can get wrong with its catalog. */
export const catalogMutants: Readonly<Record<string, Fault>> = {
  'catalog: two plans with one id': plans((all) => all.map((plan) => ({ ...plan, id: 'mutants-small' }))),
  'catalog: two plans with one name': plans((all) => all.map((plan) => ({ ...plan, name: 'small' }))),
  'catalog: two offerings with one name': services((all) => all.map((service) => ({ ...service, name: 'mutants' }))),
  'catalog: two offerings with one id': services((all) =>
    all.map((service) => ({ ...service, id: 'mutants-service' }))
  ),
  'catalog: a plan without a description': plans((all) => all.map(({ description: _, ...plan }) => plan)),
  'catalog: an empty name': plans((all) => all.map((plan, index) => (index === 1 ? { ...plan, name: '' } : plan))),
  'catalog: an offering without bindable': services((all) => all.map(({ bindable: _, ...service }) => service)),
  'catalog: an offering without plans': services((all) =>
    all.map((service, index) => (index === 1 ? { ...service, plans: [] } : service))
  ),
  'catalog: a version that is not semantic': plans((all) =>
    all.map((plan) => ({ ...plan, maintenance_info: { version: '1.2' } }))
  ),
  'catalog: a schema without $schema': schema(({ $schema: _, ...rest }) => rest),
  'catalog: a schema that refers outside': schema((rest) => ({
    ...rest,
    properties: { size: { $ref: 'http://schemas.example/size.json' } }
  })),
  'catalog: a schema above 64 kB': schema((rest) => ({ ...rest, description: 'x'.repeat(65_537) })),
  'catalog: a schema that is none': schema((rest) => ({ ...rest, type: 'objekt' })),
  'catalog: requires what there is not': services((all) => all.map((service) => ({ ...service, requires: ['sudo'] }))),
  'catalog: other ids each time': plans((all) =>
    all.map((plan, index) => (index === 1 ? { ...plan, id: String(Math.random()) } : plan))
  ),
  'catalog: 201': (sound) => async (request, signal) => {
    const reply = await sound(request, signal)
    return request.path === '/v2/catalog' && reply.status === 200 ? { ...reply, status: 201 } : reply
  },
  'catalog: no services': body(['catalog'], [200], () => ({})),
  'catalog: null for an absent field': plans((all) => all.map((plan) => ({ ...plan, bindable: null })))
}

function services(change: (services: ServiceSource[]) => Loose[]): Fault {
  return body(['catalog'], [200], (json) => ({ services: change((json as CatalogSource).services) }))
}

function plans(change: (plans: PlanSource[]) => Loose[]): Fault {
  return services((all) =>
    all.map((service, index) => (index === 0 ? { ...service, plans: change(service.plans) } : service))
  )
}

function schema(change: (schema: Loose) => Loose): Fault {
  return plans((all) =>
    all.map((plan) => ({
      ...plan,
      schemas: {
        service_instance: { create: { parameters: change(plan.schemas?.service_instance?.create?.parameters ?? {}) } }
      }
    }))
  )
}
