import { type Endpoint, endpointOf } from '../../../src/client/endpoint.ts'
import type { Transport, WireReply, WireRequest } from '../../../src/client/transport.ts'

/** A broker with one fault: a sound one behind a transport that breaks something. */
export type Fault = (sound: Transport) => Transport

type Body = Record<string, unknown>

/** A request with its endpoint, path and query told apart. */
export interface Seen extends WireRequest {
  readonly endpoint: Endpoint
  readonly url: URL
  /** The request's body, where it is a JSON object. */
  readonly json: Body
}

/** An answer with its body as JSON. */
export interface Answered {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly json: Body
}

export function seen(request: WireRequest): Seen {
  const url = new URL(request.path, 'http://broker')
  const path = request.path.split('?')[0] ?? ''
  return { ...request, url, endpoint: endpointOf(request.method, path), json: objectOf(request.body) }
}

/** Changes answers of the endpoints; `undefined` leaves one as it is. */
export function answers(
  endpoints: readonly Endpoint[],
  change: (answer: Answered, request: Seen) => Body | Partial<WireReply> | undefined
): Fault {
  return (sound) => async (request, signal) => {
    const reply = await sound(request, signal)
    const asked = seen(request)
    if (!endpoints.includes(asked.endpoint)) return reply
    const changed = change({ ...reply, json: objectOf(reply.text) }, asked)
    return changed === undefined ? reply : { ...reply, ...changed }
  }
}

/** Answers with another status. */
export function status(endpoints: readonly Endpoint[], from: number, to: number): Fault {
  return answers(endpoints, ({ status }) => (status === from ? { status: to } : undefined))
}

/** Answers with another body. */
export function body(
  endpoints: readonly Endpoint[],
  statuses: readonly number[],
  change: (json: Body, request: Seen) => unknown
): Fault {
  return answers(endpoints, ({ status, json }, request) =>
    statuses.includes(status) ? { text: JSON.stringify(change(json, request)) } : undefined
  )
}

/** Changes requests of the endpoints before the sound broker sees them. */
export function requests(
  endpoints: readonly Endpoint[],
  change: (request: Seen) => Partial<WireRequest> | undefined
): Fault {
  return (sound) => (request, signal) => {
    const asked = seen(request)
    if (!endpoints.includes(asked.endpoint)) return sound(request, signal)
    return sound({ ...request, ...change(asked) }, signal)
  }
}

/** Changes the body of requests. */
export function sent(endpoints: readonly Endpoint[], change: (json: Body, request: Seen) => Body): Fault {
  return requests(endpoints, (request) =>
    Object.keys(request.json).length === 0 ? undefined : { body: JSON.stringify(change(request.json, request)) }
  )
}

/** Answers in place of the sound broker, which never sees the request. */
export function swallows(
  endpoints: readonly Endpoint[],
  answer: (request: Seen) => { status: number; json: Body } | undefined
): Fault {
  return (sound) => async (request, signal) => {
    const asked = seen(request)
    const own = endpoints.includes(asked.endpoint) ? answer(asked) : undefined
    if (own === undefined) return sound(request, signal)
    return { status: own.status, headers: identityOf(request), text: JSON.stringify(own.json) }
  }
}

/** The same request with another query. */
export function withQuery({ url }: Seen, change: (query: URLSearchParams) => void): Partial<WireRequest> {
  const query = new URLSearchParams(url.search)
  change(query)
  const text = query.toString()
  return { path: url.pathname + (text === '' ? '' : `?${text}`) }
}

export function identityOf({ headers }: WireRequest): Record<string, string> {
  const identity = headers['x-broker-api-request-identity']
  return {
    'content-type': 'application/json; charset=utf-8',
    ...(identity === undefined ? {} : { 'x-broker-api-request-identity': identity })
  }
}

export function objectOf(text: unknown): Body {
  if (typeof text !== 'string') return {}
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
  } catch {
    return {}
  }
}
