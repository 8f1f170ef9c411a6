import type { Request } from 'autocannon'
import { bindBody, ids, provisionBody } from './catalog.ts'

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

const json = { 'content-type': 'application/json' }
const query = `service_id=${ids.service}&plan_id=${ids.sync}`

export const scenarios = {
  /** The same GET. */
  get: ({ path }: ScenarioInput): Request[] => [{ method: 'GET', path }],
  /** A synchronous provision of a new id each time. */
  provision: ({ salt, path }: ScenarioInput): Request[] => [
    about(salt, true, (id) => ({ method: 'PUT', path: `${path}/${id}`, headers: json, body: provisionBody(ids.sync) }))
  ],
  /** An asynchronous provision of a new id each time. */
  provisionAsync: ({ salt, path }: ScenarioInput): Request[] => [
    about(salt, true, (id) => ({
      method: 'PUT',
      path: `${path}/${id}?accepts_incomplete=true`,
      headers: json,
      body: provisionBody(ids.async)
    }))
  ],
  /** Provision, bind, fetch, unbind, deprovision. */
  lifecycle: ({ salt, path }: ScenarioInput): Request[] => {
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
  }
}
