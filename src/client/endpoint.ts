/** The endpoints of the specification; `other` is anything that is none of them. */
export type Endpoint =
  | 'catalog'
  | 'provision'
  | 'fetch-instance'
  | 'update'
  | 'deprovision'
  | 'poll-instance'
  | 'bind'
  | 'fetch-binding'
  | 'unbind'
  | 'poll-binding'
  | 'other'

const INSTANCE = '/v2/service_instances/[^/]+'
const BINDING = `${INSTANCE}/service_bindings/[^/]+`

const table: readonly (readonly [string, RegExp, Endpoint])[] = [
  ['GET', /^\/v2\/catalog$/, 'catalog'],
  ['PUT', new RegExp(`^${INSTANCE}$`), 'provision'],
  ['GET', new RegExp(`^${INSTANCE}$`), 'fetch-instance'],
  ['PATCH', new RegExp(`^${INSTANCE}$`), 'update'],
  ['DELETE', new RegExp(`^${INSTANCE}$`), 'deprovision'],
  ['GET', new RegExp(`^${INSTANCE}/last_operation$`), 'poll-instance'],
  ['PUT', new RegExp(`^${BINDING}$`), 'bind'],
  ['GET', new RegExp(`^${BINDING}$`), 'fetch-binding'],
  ['DELETE', new RegExp(`^${BINDING}$`), 'unbind'],
  ['GET', new RegExp(`^${BINDING}/last_operation$`), 'poll-binding']
]

/** @param path percent-encoded, without the query */
export function endpointOf(method: string, path: string): Endpoint {
  return table.find(([verb, pattern]) => verb === method && pattern.test(path))?.[2] ?? 'other'
}

/** Path of an instance; the id is percent-encoded. */
export function instancePath(instanceId: string): string {
  return `/v2/service_instances/${encodeURIComponent(instanceId)}`
}

/** Path of a binding; the ids are percent-encoded. */
export function bindingPath(instanceId: string, bindingId: string): string {
  return `${instancePath(instanceId)}/service_bindings/${encodeURIComponent(bindingId)}`
}
