import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { FastifyInstance, LightMyRequestResponse } from 'fastify'
import type { CatalogSource } from '../../schemas/catalog.ts'
import type { JsonObject } from '../../schemas/common.ts'
import {
  basic,
  bindBody,
  buildApp,
  deleteQuery,
  headers,
  ids,
  provisionBody,
  type TestAppOptions,
  testCatalog
} from '../helper/app.ts'
import { gate } from '../helper/scripted-provider.ts'

/** The descriptions that the Go client recognises the errors by, to the letter (platforms.md, item 6). */
export const asyncRequired = {
  error: 'AsyncRequired',
  description: 'This service plan requires client support for asynchronous service operations.'
}
export const requiresApp = {
  error: 'RequiresApp',
  description: 'This service supports generation of credentials through binding an application only.'
}
export const concurrencyError = {
  error: 'ConcurrencyError',
  description: 'The Service Broker does not support concurrent requests that mutate the same resource.'
}

export const ASYNC = '?accepts_incomplete=true'
export const ALSO_ASYNC = '&accepts_incomplete=true'

/** The states of `last_operation` that end a poll well. */
export const succeeded = { state: 'succeeded' }

/** The requests of one platform. */
export class Platform {
  readonly app: FastifyInstance
  readonly prefix: string
  readonly headers: Record<string, string>

  constructor(app: FastifyInstance, own: Record<string, string> = headers, prefix = '') {
    this.app = app
    this.headers = own
    this.prefix = prefix
  }

  send(method: 'GET' | 'PUT' | 'PATCH' | 'DELETE' | 'POST', path: string, payload?: object) {
    const url = `${this.prefix}${path}`
    return this.app.inject({ method, url, headers: this.headers, ...(payload === undefined ? {} : { payload }) })
  }

  get = (path: string) => this.send('GET', path)
  provision = (id: string, body: object = provisionBody(), query = '') =>
    this.send('PUT', `${instancePath(id)}${query}`, body)
  update = (id: string, body: object, query = '') =>
    this.send('PATCH', `${instancePath(id)}${query}`, { service_id: ids.service, ...body })
  fetch = (id: string) => this.get(instancePath(id))
  deprovision = (id: string, query = deleteQuery()) => this.send('DELETE', `${instancePath(id)}${query}`)
  bind = (id: string, binding: string, body: object = bindBody(), query = '') =>
    this.send('PUT', `${bindingPath(id, binding)}${query}`, body)
  fetchBinding = (id: string, binding: string) => this.get(bindingPath(id, binding))
  unbind = (id: string, binding: string, query = deleteQuery()) =>
    this.send('DELETE', `${bindingPath(id, binding)}${query}`)

  poll = (path: string, operation?: string) =>
    this.get(`${path}/last_operation${operation === undefined ? '' : `?operation=${encodeURIComponent(operation)}`}`)

  /** Polls until the operation is not `in progress` any more; fails after 20 s. */
  async ended(path: string, operation?: string): Promise<LightMyRequestResponse> {
    for (const end = Date.now() + 20_000; ; ) {
      const reply = await this.poll(path, operation)
      if (reply.statusCode !== 200 || reply.json().state !== 'in progress') return reply
      if (Date.now() > end) throw new Error(`still in progress after 20 s: ${path} ${reply.body}`)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  /** Waits until the provider is at work: the example provider says so before it waits. */
  async atWork(path: string, operation?: string): Promise<void> {
    for (const end = Date.now() + 15_000; ; ) {
      const reply = await this.poll(path, operation)
      if (/^Working for/.test(reply.json().description)) return
      if (Date.now() > end) throw new Error(`not at work after 15 s: ${path} ${reply.body}`)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
}

export function instancePath(id: string): string {
  return `/v2/service_instances/${encodeURIComponent(id)}`
}

export function bindingPath(id: string, binding: string): string {
  return `${instancePath(id)}/service_bindings/${encodeURIComponent(binding)}`
}

/** A broker of its own and the platform that is alone on it. */
export async function onePlatform(t: TestContext, options: TestAppOptions = {}): Promise<Platform> {
  return new Platform(await buildApp(t, options))
}

/** Two platforms of one broker. */
export async function twoPlatforms(t: TestContext, options: TestAppOptions = {}): Promise<[Platform, Platform]> {
  const platforms = ['one', 'two'].map((name) => ({ name, username: `${name}-user`, password: `${name}-password` }))
  const app = await buildApp(t, { ...options, auth: { platforms } })
  const of = (name: string) =>
    new Platform(app, { ...headers, authorization: basic(`${name}-user`, `${name}-password`) })
  return [of('one'), of('two')]
}

/** The test catalog with other plans, and other words on its first offering. */
export function catalogOf(plans: readonly JsonObject[], offering: JsonObject = {}): CatalogSource {
  const { services } = testCatalog()
  const [first, ...rest] = services
  assert.ok(first)
  const all = plans.map((plan) => ({ id: '', name: String(plan.id), description: 'A plan', ...plan }))
  return { services: [{ ...first, plans: all, ...offering }, ...rest] }
}

/** A plan for {@link catalogOf}; `broker` is its `x-broker`. */
export function planOf(id: string, broker: JsonObject = {}, more: JsonObject = {}): JsonObject {
  return { id, 'x-broker': broker, ...more }
}

/** What every answer of a broker has to be (platforms.md, items 1 and 2); returns its body. */
export function answered(reply: LightMyRequestResponse, status: number, body?: object): JsonObject {
  assert.equal(reply.statusCode, status, reply.body)
  assert.match(String(reply.headers['content-type']), /^application\/json(;|$)/, reply.body)
  const parsed: unknown = JSON.parse(reply.body)
  assert.ok(isObject(parsed), `the body is no JSON object: ${reply.body}`)
  for (const [name, value] of Object.entries(parsed)) assert.notEqual(value, null, `${name} is null: ${reply.body}`)
  if (status >= 400) {
    const { description, error } = parsed
    assert.ok(typeof description === 'string' && description !== '', `no description: ${reply.body}`)
    assert.ok(Buffer.byteLength(description) < 8_000, `a description of ${description.length} characters`)
    if (error !== undefined) assert.match(String(error), /^[A-Za-z]+$/)
  }
  if (body !== undefined) assert.deepEqual(parsed, body)
  return parsed
}

/** A refusal whose description says what was wrong. */
export function refused(reply: LightMyRequestResponse, status: number, description: RegExp): void {
  assert.match(String(answered(reply, status).description), description)
}

/** A 202 with nothing but its operation, which is returned. */
export function accepted(reply: LightMyRequestResponse): string {
  const { operation, ...rest } = answered(reply, 202)
  assert.ok(typeof operation === 'string' && operation.length > 0 && operation.length <= 10_000, reply.body)
  assert.equal(encodeURIComponent(operation), operation, 'the operation does not survive form encoding')
  assert.deepEqual(rest, {})
  return operation
}

/** The credentials of a finished bind. */
export function credentialsOf(reply: LightMyRequestResponse, status: number): JsonObject {
  const { credentials, ...rest } = answered(reply, status)
  assert.ok(isObject(credentials) && Object.keys(credentials).length > 0, reply.body)
  for (const name of Object.keys(credentials)) assert.match(name, /^[-._a-zA-Z0-9]{1,253}$/)
  assert.deepEqual(rest, {})
  return credentials
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** How often each status came. */
export function statusCounts(replies: readonly LightMyRequestResponse[]): Record<number, number> {
  const counts: Record<number, number> = {}
  for (const { statusCode } of replies) counts[statusCode] = (counts[statusCode] ?? 0) + 1
  return counts
}

/** A gate that is open at the latest when the test ends, so that the app can close; to be made before the app. */
export function gateFor(t: TestContext): ReturnType<typeof gate> {
  const made = gate()
  t.after(made.open)
  return made
}
