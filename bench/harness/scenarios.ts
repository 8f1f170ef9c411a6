import type { Request } from 'autocannon'
import { bindBody, ids, provisionBody } from './catalog.ts'

/** A request, and the statuses it may be answered with; default: 2xx and 304. */
export interface Step extends Request {
  readonly accepts?: readonly number[]
}

/** What a client sends again and again. Ids are unique in the process that sends them, and by `salt` in the whole run. */
export type ScenarioName = keyof typeof scenarios

export interface ScenarioInput {
  /** Path of a GET. */
  readonly path: string
  readonly salt: string
}

interface Context {
  id?: string
}

let count = 0

function nextId(salt: string): string {
  count += 1
  return `${salt}-${count}`
}

/** A request about an id: a new one for the first of a sequence, the same for the rest of it. */
function about(salt: string, first: boolean, request: (id: string) => Request): Request {
  return {
    setupRequest: (base, context: Context) => {
      if (first || context.id === undefined) context.id = nextId(salt)
      const own = request(context.id)
      return { ...base, ...own, headers: { ...base.headers, ...own.headers } }
    }
  }
}

/** A bad request does not stop the others. */
function refusedWith(status: number, request: Request): Step {
  return { ...request, accepts: [status] }
}

const json = { 'content-type': 'application/json' }
const query = `service_id=${ids.service}&plan_id=${ids.sync}`

export const scenarios = {
  /** The same GET. */
  get: ({ path }: ScenarioInput): Step[] => [{ method: 'GET', path }],
  /** A synchronous provision of a new id each time. */
  provision: ({ salt, path }: ScenarioInput): Step[] => [
    about(salt, true, (id) => ({ method: 'PUT', path: `${path}/${id}`, headers: json, body: provisionBody(ids.sync) }))
  ],
  /** An asynchronous provision of a new id each time. */
  provisionAsync: ({ salt, path }: ScenarioInput): Step[] => [
    about(salt, true, (id) => ({
      method: 'PUT',
      path: `${path}/${id}?accepts_incomplete=true`,
      headers: json,
      body: provisionBody(ids.async)
    }))
  ],
  /** Provision, bind, fetch, unbind, deprovision. */
  lifecycle: ({ salt, path }: ScenarioInput): Step[] => {
    const binding = (id: string) => `${path}/${id}/service_bindings/b`
    return [
      about(salt, true, (id) => ({
        method: 'PUT',
        path: `${path}/${id}`,
        headers: json,
        body: provisionBody(ids.sync)
      })),
      about(salt, false, (id) => ({ method: 'PUT', path: binding(id), headers: json, body: bindBody(ids.sync) })),
      about(salt, false, (id) => ({ method: 'GET', path: binding(id) })),
      about(salt, false, (id) => ({ method: 'DELETE', path: `${binding(id)}?${query}` })),
      about(salt, false, (id) => ({ method: 'DELETE', path: `${path}/${id}?${query}` }))
    ]
  },
  /** Some of all that platforms do, on plans of both modes; nothing is left of it but what the store keeps of the past. */
  mixed: ({ salt, path }: ScenarioInput): Step[] => {
    const binding = (id: string) => `${path}/${id}/service_bindings/b`
    const asynchronous = `service_id=${ids.service}&plan_id=${ids.async}&accepts_incomplete=true`
    const put = (path: string, body: string): Request => ({ method: 'PUT', path, headers: json, body })
    return [
      about(salt, true, (id) => put(`${path}/${id}`, provisionBody(ids.sync))),
      about(salt, false, (id) => ({ method: 'GET', path: `${path}/${id}/last_operation` })),
      about(salt, false, (id) => ({ method: 'GET', path: `${path}/${id}` })),
      about(salt, false, (id) => put(binding(id), bindBody(ids.sync))),
      about(salt, false, (id) => ({ method: 'GET', path: binding(id) })),
      { method: 'GET', path: '/v2/catalog' },
      refusedWith(400, put(`${path}/${salt}`, '{"service_id":5}')),
      refusedWith(404, { method: 'GET', path: `${path}/${salt}` }),
      about(salt, false, (id) => ({ method: 'DELETE', path: `${binding(id)}?${query}` })),
      about(salt, false, (id) => ({ method: 'DELETE', path: `${path}/${id}?${query}` })),
      about(salt, true, (id) => put(`${path}/${id}?accepts_incomplete=true`, provisionBody(ids.async))),
      about(salt, false, (id) => ({ method: 'GET', path: `${path}/${id}/last_operation` })),
      about(salt, false, (id) => ({ method: 'DELETE', path: `${path}/${id}?${asynchronous}` })),
      about(salt, false, (id) => ({ method: 'GET', path: `${path}/${id}/last_operation` }))
    ]
  }
}
