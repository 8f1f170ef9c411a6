import { randomUUID } from 'node:crypto'
import type { JsonObject } from '../../schemas/common.ts'
import { type Endpoint, endpointOf } from '../client/endpoint.ts'
import type { Transport } from '../client/transport.ts'

/** A request as a check writes it. */
export interface Sent {
  readonly method: string
  /** Percent-encoded, without the query: `/v2/catalog`. */
  readonly path: string
  /** Form-encoded as platforms do; `undefined` values are left out. */
  readonly query?: Readonly<Record<string, string | undefined>>
  /** Laid over the usual ones; `undefined` removes one. Names in lower case. */
  readonly headers?: Readonly<Record<string, string | undefined>>
  /** An object is sent as JSON, a string or bytes as they are. */
  readonly body?: JsonObject | string | Uint8Array
}

/** A request, and what the broker answered. */
export interface Exchange {
  readonly endpoint: Endpoint
  readonly request: {
    readonly method: string
    readonly path: string
    readonly headers: Readonly<Record<string, string>>
    readonly body: string | undefined
  }
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  /** The body as JSON; `undefined` when it is none. */
  readonly json: unknown
  /** The body where it is a JSON object, else `{}`: for reading fields without looking twice. */
  readonly body: JsonObject
}

/** What every request carries unless a check says otherwise. */
export interface Identity {
  readonly authorization: string | undefined
  readonly apiVersion: string
}

/** Sends requests and keeps every exchange. */
export class Wire {
  readonly #transport: Transport
  readonly #identity: Identity
  readonly #observe: (exchange: Exchange) => void

  constructor(transport: Transport, identity: Identity, observe: (exchange: Exchange) => void) {
    this.#transport = transport
    this.#identity = identity
    this.#observe = observe
  }

  get authorization(): string | undefined {
    return this.#identity.authorization
  }

  async send({ method, path, query = {}, headers = {}, body }: Sent): Promise<Exchange> {
    const text =
      typeof body === 'string' || body instanceof Uint8Array || body === undefined ? body : JSON.stringify(body)
    const merged: Record<string, string | undefined> = {
      accept: 'application/json',
      authorization: this.#identity.authorization,
      'x-broker-api-version': this.#identity.apiVersion,
      'x-broker-api-request-identity': randomUUID(),
      'content-type': body === undefined ? undefined : 'application/json',
      ...headers
    }
    const request = {
      method,
      path: path + queryOf(query),
      headers: Object.fromEntries(Object.entries(merged).filter(isGiven)),
      body: text
    }
    const reply = await this.#transport(request)
    const json = parsed(reply.text)
    const exchange: Exchange = {
      endpoint: endpointOf(method, path),
      request: { ...request, body: text instanceof Uint8Array ? `${text.byteLength} bytes` : text },
      ...reply,
      json,
      body: isObject(json) ? json : {}
    }
    this.#observe(exchange)
    return exchange
  }
}

function isGiven(entry: [string, string | undefined]): entry is [string, string] {
  return entry[1] !== undefined
}

function queryOf(query: Readonly<Record<string, string | undefined>>): string {
  const text = new URLSearchParams(Object.entries(query).filter(isGiven)).toString()
  return text === '' ? '' : `?${text}`
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

const SHOWN_CHARACTERS = 600

/** The exchange in two lines, for people; credentials and the way in are left out. */
export function shown({ request, status, text, json, endpoint }: Exchange): string {
  const body = request.body === undefined ? '' : ` ${short(request.body)}`
  const secret =
    (endpoint === 'bind' || endpoint === 'fetch-binding') && isObject(json) && json.credentials !== undefined
  const answer = secret ? JSON.stringify({ ...json, credentials: '(not shown)' }) : text
  return `${request.method} ${short(request.path)}${body}\n→ ${status} ${short(answer)}`
}

function short(text: string): string {
  return text.length <= SHOWN_CHARACTERS
    ? text
    : `${text.slice(0, SHOWN_CHARACTERS).toWellFormed()}… (${text.length} characters)`
}
