import { randomUUID } from 'node:crypto'
import { Value } from '@sinclair/typebox/value'
import { Catalog } from '../../schemas/catalog.ts'
import type { JsonObject } from '../../schemas/common.ts'
import type { BindingFetched, BindingReply, BindRequest } from '../../schemas/service-binding.ts'
import type { InstanceFetched, InstanceReply, ProvisionRequest, UpdateRequest } from '../../schemas/service-instance.ts'
import { bindingPath, instancePath } from './endpoint.ts'
import { OsbError, UnexpectedAnswer } from './errors.ts'
import { retryAfterMs } from './retry-after.ts'
import type { Transport, WireReply } from './transport.ts'

/** An instance, or one of its bindings. */
export interface ResourceIds {
  readonly instanceId: string
  readonly bindingId?: string | undefined
}

/** The ids that a delete has to name (spec: Deprovisioning, Unbinding, Parameters). */
export interface PlanIds {
  readonly service_id: string
  readonly plan_id: string
}

/** How a request is sent. */
export interface CallOptions {
  /** `accepts_incomplete`; default true: the caller can poll. */
  readonly acceptsIncomplete?: boolean | undefined
  /** Ends the request. */
  readonly signal?: AbortSignal | undefined
}

/** An answer of success. With status 202 the operation goes on; see {@link waitForOperation}. */
export interface Answer<Body> {
  readonly status: 200 | 201 | 202
  readonly body: Body
  /** What polls of a 202 must name; absent where the broker issues none. */
  readonly operation?: string
}

/** One answer of `last_operation`. */
export interface Poll {
  readonly state: 'in progress' | 'succeeded' | 'failed'
  readonly description?: string
  readonly instance_usable?: boolean
  readonly update_repeatable?: boolean
  /** What the broker asks to wait before the next poll. */
  readonly retryAfterMs?: number
}

/** Which broker an {@link OsbClient} calls, and as whom. */
export interface OsbClientOptions {
  /** What carries the requests: `httpTransport({ url })`, or `injectTransport(app)` in tests. */
  readonly transport: Transport
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** `X-Broker-API-Version`; default `2.17`. */
  readonly apiVersion?: string | undefined
  /** Who causes the requests (spec: Originating Identity). */
  readonly originatingIdentity?: { readonly platform: string; readonly value: JsonObject } | undefined
}

/**
 * The platform's side of the Open Service Broker API, one method for each endpoint. Ids are percent-encoded, each request
 * carries an identity of its own. Every method throws {@link OsbError} for a refusal, {@link UnexpectedAnswer} for an answer
 * that the specification does not know, and what the transport throws.
 * @example
 * const client = new OsbClient({ transport: httpTransport({ url: 'http://127.0.0.1:8080' }), username, password })
 * const answer = await client.provision('my-db', { service_id, plan_id, organization_guid, space_guid })
 * if (answer.status === 202) await waitForOperation(client, { instanceId: 'my-db' }, { operation: answer.operation })
 */
export class OsbClient {
  readonly #transport: Transport
  readonly #headers: Readonly<Record<string, string>>

  constructor({ transport, username, password, apiVersion = '2.17', originatingIdentity }: OsbClientOptions) {
    this.#transport = transport
    this.#headers = {
      accept: 'application/json',
      'x-broker-api-version': apiVersion,
      ...(username === undefined ? {} : { authorization: `Basic ${base64(`${username}:${password ?? ''}`)}` }),
      ...(originatingIdentity === undefined
        ? {}
        : {
            'x-broker-api-originating-identity': `${originatingIdentity.platform} ${base64(JSON.stringify(originatingIdentity.value))}`
          })
    }
  }

  /** `GET /v2/catalog`. */
  async catalog(signal?: AbortSignal): Promise<Catalog> {
    const { status, body, text } = await this.#send({ method: 'GET', path: '/v2/catalog', signal })
    if (status === 200 && Value.Check(Catalog, body)) return body
    const [fault] = Value.Errors(Catalog, body)
    const why = status === 200 ? `which is no catalog (${fault?.path} ${fault?.message})` : 'not 200'
    throw new UnexpectedAnswer('GET /v2/catalog', { status, text }, why)
  }

  /** `PUT /v2/service_instances/:instance_id`. */
  provision(instanceId: string, body: ProvisionRequest, options?: CallOptions): Promise<Answer<InstanceReply>> {
    return this.#change({ method: 'PUT', path: instancePath(instanceId), body, ...options })
  }

  /** `PATCH /v2/service_instances/:instance_id`. */
  update(instanceId: string, body: UpdateRequest, options?: CallOptions): Promise<Answer<InstanceReply>> {
    return this.#change({ method: 'PATCH', path: instancePath(instanceId), body, ...options })
  }

  /** `DELETE /v2/service_instances/:instance_id`. 410 is thrown: the caller decides whether that is success. */
  deprovision(instanceId: string, ids: PlanIds, options?: CallOptions): Promise<Answer<JsonObject>> {
    return this.#change({ method: 'DELETE', path: instancePath(instanceId), query: { ...ids }, ...options })
  }

  /** `GET /v2/service_instances/:instance_id`. */
  fetchInstance(instanceId: string, signal?: AbortSignal): Promise<InstanceFetched> {
    return this.#fetch(instancePath(instanceId), signal)
  }

  /** `PUT …/service_bindings/:binding_id`; a rotation names its `predecessor_binding_id`. */
  bind(ids: Required<ResourceIds>, body: BindRequest, options?: CallOptions): Promise<Answer<BindingReply>> {
    return this.#change({ method: 'PUT', path: pathOf(ids), body, ...options })
  }

  /** `DELETE …/service_bindings/:binding_id`. 410 is thrown: the caller decides whether that is success. */
  unbind(ids: Required<ResourceIds>, planIds: PlanIds, options?: CallOptions): Promise<Answer<JsonObject>> {
    return this.#change({ method: 'DELETE', path: pathOf(ids), query: { ...planIds }, ...options })
  }

  /** `GET …/service_bindings/:binding_id`. */
  fetchBinding(ids: Required<ResourceIds>, signal?: AbortSignal): Promise<BindingFetched> {
    return this.#fetch(pathOf(ids), signal)
  }

  /** `GET …/last_operation` of an instance or a binding, once. */
  async lastOperation(ids: ResourceIds, hints: PollHints = {}): Promise<Poll> {
    const { signal, ...query } = hints
    const request = { method: 'GET', path: `${pathOf(ids)}/last_operation`, query, signal }
    const { status, headers, body, text } = await this.#send(request)
    const { state, description, instance_usable: usable, update_repeatable: repeatable } = body
    if (status !== 200 || (state !== 'in progress' && state !== 'succeeded' && state !== 'failed')) {
      throw new UnexpectedAnswer(`GET ${request.path}`, { status, text }, 'without a state')
    }
    const pause = retryAfterMs(headers['retry-after'])
    return {
      state,
      ...(typeof description === 'string' ? { description } : {}),
      ...(typeof usable === 'boolean' ? { instance_usable: usable } : {}),
      ...(typeof repeatable === 'boolean' ? { update_repeatable: repeatable } : {}),
      ...(pause === undefined ? {} : { retryAfterMs: pause })
    }
  }

  async #fetch<Body>(path: string, signal: AbortSignal | undefined): Promise<Body> {
    const { status, body, text } = await this.#send({ method: 'GET', path, signal })
    if (status !== 200) throw new UnexpectedAnswer(`GET ${path}`, { status, text }, 'not 200')
    return body as Body
  }

  async #change<Body>({ acceptsIncomplete = true, query, ...request }: Request & CallOptions): Promise<Answer<Body>> {
    const incomplete = acceptsIncomplete ? { accepts_incomplete: 'true' } : {}
    const { status, body, text } = await this.#send({ ...request, query: { ...query, ...incomplete } })
    if (status !== 200 && status !== 201 && status !== 202) {
      throw new UnexpectedAnswer(`${request.method} ${request.path}`, { status, text }, 'not 200, 201 or 202')
    }
    const { operation } = body
    // What is told of the body is what the specification says of it: a broker in another language may still differ.
    return { status, body: body as Body, ...(typeof operation === 'string' ? { operation } : {}) }
  }

  async #send({ method, path, query = {}, body, signal }: Request): Promise<Received> {
    const given = Object.entries(query).filter((entry): entry is [string, string] => entry[1] !== undefined)
    const text = new URLSearchParams(given).toString()
    const reply = await this.#transport(
      {
        method,
        path: text === '' ? path : `${path}?${text}`,
        headers: {
          ...this.#headers,
          'x-broker-api-request-identity': randomUUID(),
          ...(body === undefined ? {} : { 'content-type': 'application/json' })
        },
        body: body === undefined ? undefined : JSON.stringify(body)
      },
      signal
    )
    const json = objectFrom(reply.text)
    if (reply.status >= 400) throw refusal(reply, json ?? {})
    if (json === undefined) throw new UnexpectedAnswer(`${method} ${path}`, reply, 'which is no JSON object')
    return { ...reply, body: json }
  }
}

/** What a poll may carry beside its path (spec: Polling Last Operation, Parameters). */
export interface PollHints {
  readonly operation?: string | undefined
  readonly service_id?: string | undefined
  readonly plan_id?: string | undefined
  readonly signal?: AbortSignal | undefined
}

interface Request {
  readonly method: string
  readonly path: string
  readonly query?: Readonly<Record<string, string | undefined>>
  readonly body?: object
  readonly signal?: AbortSignal | undefined
}

interface Received extends WireReply {
  readonly body: JsonObject
}

function pathOf({ instanceId, bindingId }: ResourceIds): string {
  return bindingId === undefined ? instancePath(instanceId) : bindingPath(instanceId, bindingId)
}

function refusal({ status, headers, text }: WireReply, body: JsonObject): OsbError {
  const { error, description, instance_usable: usable, update_repeatable: repeatable } = body
  const fallback =
    text === '' ? `The broker answered ${status}.` : `The broker answered ${status}: ${text.slice(0, 300)}`
  return new OsbError(typeof description === 'string' && description !== '' ? description : fallback, {
    status,
    error: typeof error === 'string' ? error : undefined,
    instanceUsable: typeof usable === 'boolean' ? usable : undefined,
    updateRepeatable: typeof repeatable === 'boolean' ? repeatable : undefined,
    retryAfterMs: retryAfterMs(headers['retry-after'])
  })
}

function objectFrom(text: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined
  } catch {
    return undefined
  }
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64')
}
