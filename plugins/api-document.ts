import { isDeepStrictEqual } from 'node:util'
import * as schemas from '../schemas/index.ts'

type Json = Record<string, unknown>

/** The schemas that have a name in the document; what equals one of them refers to it. */
const named: Json = plain({
  Catalog: schemas.Catalog,
  ServiceOffering: schemas.ServiceOffering,
  ServicePlan: schemas.ServicePlan,
  PlanSchemas: schemas.PlanSchemas,
  DashboardClient: schemas.DashboardClient,
  MaintenanceInfo: schemas.MaintenanceInfo,
  MaintenanceInfoRequest: schemas.MaintenanceInfoRequest,
  ProvisionRequest: schemas.ProvisionRequest,
  UpdateRequest: schemas.UpdateRequest,
  InstanceReply: schemas.InstanceReply,
  InstanceAccepted: schemas.InstanceAccepted,
  InstanceFetched: schemas.InstanceFetched,
  ServiceInstanceMetadata: schemas.ServiceInstanceMetadata,
  BindRequest: schemas.BindRequest,
  BindResource: schemas.BindResource,
  BindingReply: schemas.BindingReply,
  BindingFetched: schemas.BindingFetched,
  BindingMetadata: schemas.BindingMetadata,
  VolumeMount: schemas.VolumeMount,
  Endpoint: schemas.Endpoint,
  AsyncOperation: schemas.DeleteAccepted,
  LastOperation: schemas.LastOperation,
  Error: schemas.ErrorBody
})

/** What the specification requires and our schemas leave to the domain, which has a better word for its absence. */
const REQUIRED_BY_SPEC = {
  headers: ['x-broker-api-version'],
  ofDeletes: ['service_id', 'plan_id']
}

/**
 * Finishes the OpenAPI document that the routes' schemas make: schemas get their names, what the specification requires is
 * required, and answers tell their headers.
 */
export function finishApiDocument(source: object): Json {
  const document = objectOf(plain(source))
  const paths = Object.entries(objectOf(document.paths)).map(([path, item]) => [path, finishPath(objectOf(item))])
  const components = objectOf(document.components)
  const definitions = Object.entries(named).map(([name, schema]) => [name, finishSchema(name, referring(schema, name))])
  return {
    ...document,
    paths: referring(Object.fromEntries(paths)),
    components: { ...components, schemas: Object.fromEntries(definitions) }
  }
}

function finishPath(item: Json): Json {
  return Object.fromEntries(
    Object.entries(item).map(([method, operation]) => {
      const { parameters, responses, ...rest } = objectOf(operation)
      const list = Array.isArray(parameters) ? parameters.map(objectOf) : []
      return [
        method,
        {
          ...rest,
          parameters: list.map((parameter) => ({ ...parameter, required: isRequired(method, parameter) })),
          responses: finishResponses(objectOf(responses), String(objectOf(operation).operationId))
        }
      ]
    })
  )
}

function isRequired(method: string, { in: place, name, required }: Json): boolean {
  const names = place === 'header' ? REQUIRED_BY_SPEC.headers : method === 'delete' ? REQUIRED_BY_SPEC.ofDeletes : []
  return required === true || names.includes(String(name))
}

const text = (description: string) => ({ description, schema: { type: 'string' } })
const seconds = (description: string) => ({ description, schema: { type: 'integer', minimum: 0 } })

/** Headers that answers carry, by operation and status; they are no part of the schemas that Fastify knows. */
function headersOf(operationId: string, status: string): Json {
  const polls = operationId.endsWith('lastOperation.get') && status === '200'
  const later = ['429', '503', '504'].includes(status)
  const caches = operationId === 'catalog.get' && (status === '200' || status === '304')
  return {
    'X-Broker-API-Request-Identity': text('The value of the request.'),
    ...(polls ? { 'Retry-After': seconds('While in progress: seconds to wait before the next poll.') } : {}),
    ...(later ? { 'Retry-After': seconds('Seconds to wait before the request is sent again.') } : {}),
    ...(caches ? { ETag: text('Of the catalog as it is served.'), 'Last-Modified': text('Of the catalog.') } : {})
  }
}

/** What the answers of success mean, where their schema does not say it. */
const MEANINGS: Readonly<Record<string, string>> = {
  200: 'It is so.',
  201: 'It was made by this request.',
  202: 'Accepted. Poll last_operation until it has ended.',
  503: 'It is not so.'
}

function finishResponses(responses: Json, operationId: string): Json {
  return Object.fromEntries(
    Object.entries(responses).map(([status, value]) => {
      const response = objectOf(value)
      const description = response.description === 'Default Response' ? MEANINGS[status] : response.description
      return [status, { ...response, description, headers: headersOf(operationId, status) }]
    })
  )
}

function finishSchema(name: string, schema: unknown): unknown {
  if (name !== 'BindRequest') return schema
  // A rotation may name its predecessor alone (spec: Rotating a Service Binding).
  return {
    ...objectOf(schema),
    anyOf: [{ required: ['service_id', 'plan_id'] }, { required: ['predecessor_binding_id'] }]
  }
}

/** The value with every named schema in it replaced by a reference; `own` is the one that is being defined. */
function referring(value: unknown, own?: string): unknown {
  if (Array.isArray(value)) return value.map((item) => referring(item))
  if (typeof value !== 'object' || value === null) return value
  const { description, ...rest } = objectOf(value)
  const name = Object.keys(named).find(
    (key) => isDeepStrictEqual(named[key], value) || isDeepStrictEqual(named[key], rest)
  )
  if (name !== undefined && name !== own) {
    const reference = { $ref: `#/components/schemas/${name}` }
    return typeof description === 'string' ? { ...reference, description } : reference
  }
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, referring(item)]))
}

/** Schemas without the symbols of TypeBox, which count when values are compared. */
function plain(source: object): Json {
  return JSON.parse(JSON.stringify(source))
}

function objectOf(value: unknown): Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
}
