import type { TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../schemas/common.ts'
import { BindingReply } from '../../schemas/service-binding.ts'
import { InstanceReply } from '../../schemas/service-instance.ts'
import type { CatalogPlan } from './catalog/index.ts'
import { BrokerError } from './errors.ts'
import type { Bound, Provisioned } from './provider.ts'
import { hasSecretOf } from './secrets.ts'
import { requireStorable } from './storable.ts'
import type { BindingRecord, Finish } from './store.ts'

/** Platforms take a `dashboard_url` of less than 16,000 characters, and credentials of less than 48 kB. */
const MAX_DASHBOARD_URL = 16_000
const MAX_CREDENTIALS_BYTES = 48 * 1024
const CREDENTIAL_KEY = /^[-._a-zA-Z0-9]{1,253}$/

/** Of each field of a bind, the permission that the offering's `requires` must declare (spec: Binding, Body). */
const PERMISSIONS = [
  ['syslog_drain_url', 'syslog_drain'],
  ['route_service_url', 'route_forwarding'],
  ['volume_mounts', 'volume_mount']
] as const

/**
 * What a provision or an update may answer: as the specification has it, and as platforms take it.
 * @throws {BrokerError} 500, when the provider has answered something else: no further try would mend that
 */
export function permittedInstance({ state, description, ...reply }: Provisioned): InstanceReply {
  requireState(state)
  requireDescription(description)
  requireShape(InstanceReply, reply)
  if (reply.dashboard_url !== undefined) requireDashboardUrl(reply.dashboard_url)
  return reply
}

/** @throws {BrokerError} 500, unless it is the URL of a page, short enough for platforms */
export function requireDashboardUrl(url: string): void {
  const isPage = URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)
  if (!isPage || url.length >= MAX_DASHBOARD_URL) throw fault('"dashboard_url" is no URL of a web page')
}

/**
 * What a bind may answer: as the specification has it, and as platforms take it. Endpoints are left out where the plan does
 * not want them; dates are written as the specification wants them.
 * @param saved the state of the binding, which must not have the credentials where the plan keeps none
 * @throws {BrokerError} 500, when the provider has answered something else: no further try would mend that
 */
export function permittedBinding(
  { requires, endpoints, keepCredentials }: Pick<CatalogPlan, 'requires' | 'endpoints' | 'keepCredentials'>,
  { state, description, ...reply }: Bound,
  saved?: JsonObject
): BindingReply {
  requireState(state)
  requireDescription(description)
  requireShape(BindingReply, reply)
  if (!keepCredentials && saved !== undefined && hasSecretOf(reply.credentials ?? {}, saved)) {
    throw new BrokerError(500, 'The provider of this service keeps credentials, which the plan does not allow.')
  }
  for (const [field, permission] of PERMISSIONS) {
    if (reply[field] !== undefined && !requires.includes(permission)) {
      throw new BrokerError(500, `The service offering does not declare "requires": ["${permission}"].`)
    }
  }
  const { route_service_url: route, metadata, endpoints: _endpoints, ...rest } = reply
  if (route !== undefined && !route.startsWith('https://')) throw fault('"route_service_url" is not https')
  requireCredentials(reply.credentials)
  return {
    ...rest,
    ...(route === undefined ? {} : { route_service_url: route }),
    ...(metadata === undefined ? {} : { metadata: withDates(metadata) }),
    ...(endpoints && reply.endpoints !== undefined ? { endpoints: reply.endpoints } : {})
  }
}

/** How long credentials wait to be fetched: the longest that platforms pause between two polls, and then some. */
const UNDELIVERED_MS = 24 * 3600 * 1000

/** What of an answer is kept with the binding, and what is handed over once. */
export function answerOf(
  { keepCredentials }: Pick<CatalogPlan, 'keepCredentials'>,
  { credentials, ...rest }: BindingReply,
  binding: Partial<BindingRecord>
): Pick<Finish, 'binding' | 'undelivered'> {
  if (credentials === undefined) return { binding: { ...binding, reply: rest } }
  if (keepCredentials) return { binding: { ...binding, reply: { ...rest, credentials } } }
  return {
    binding: { ...binding, reply: rest },
    undelivered: { credentials, forMs: UNDELIVERED_MS }
  }
}

function requireCredentials(credentials: BindingReply['credentials'] = {}): void {
  const key = Object.keys(credentials).find((name) => !CREDENTIAL_KEY.test(name))
  if (key !== undefined) throw fault('a key of "credentials" has other characters than [-._a-zA-Z0-9]')
  const bytes = Buffer.byteLength(JSON.stringify(credentials))
  if (bytes >= MAX_CREDENTIALS_BYTES) throw fault(`"credentials" have ${bytes} bytes; platforms take less than 48 kB`)
}

/** `yyyy-mm-ddThh:mm:ss.sZ`. */
const TIMESTAMP = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d+Z$/

/** Dates as the specification writes them, and `renew_before` not after `expires_at` (spec: Binding Metadata Object). */
function withDates({ expires_at: expires, renew_before: renew, ...rest }: NonNullable<BindingReply['metadata']>) {
  const [expiresAt, renewBefore] = [dateIn('expires_at', expires), dateIn('renew_before', renew)]
  if (expiresAt !== undefined && renewBefore !== undefined && renewBefore > expiresAt) {
    throw fault('"renew_before" is after "expires_at"')
  }
  return {
    ...rest,
    ...(expiresAt === undefined ? {} : { expires_at: written(expires, expiresAt) }),
    ...(renewBefore === undefined ? {} : { renew_before: written(renew, renewBefore) })
  }
}

function written(text: string | undefined, date: Date): string {
  return text !== undefined && TIMESTAMP.test(text) ? text : date.toISOString()
}

function dateIn(field: string, text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const date = new Date(text)
  if (Number.isNaN(date.getTime())) throw fault(`"${field}" is no date in ISO 8601`)
  return date
}

/** @throws {BrokerError} 500, unless the state is absent or an object that JSON can represent: no further try would help */
export function requireState(state: unknown): void {
  if (state !== undefined && !isJson(state)) throw fault('"state" is no object that JSON can represent')
}

function requireDescription(description: unknown): void {
  if (description !== undefined && typeof description !== 'string') throw fault('"description" is not a string')
}

/** Whether a value can be written as JSON, as an object: without a cycle and a BigInt. */
export function isJson(value: unknown): boolean {
  try {
    return typeof value === 'object' && value !== null && JSON.stringify(value)?.startsWith('{') === true
  } catch {
    return false
  }
}

function requireShape(schema: TSchema, reply: object): void {
  if (!Value.Check(schema, reply)) {
    // Not the value: it may be a secret.
    const [first] = Value.Errors(schema, reply)
    throw fault(`${first?.path === '' ? 'it' : `"${first?.path}"`} is not as the specification has it`)
  }
  try {
    requireStorable(JSON.parse(JSON.stringify(reply)), 'answer')
  } catch (error) {
    throw fault(error instanceof BrokerError ? error.message : 'it cannot be written as JSON')
  }
}

/** No `Rejected`: what a provider rejects it has not begun, and this it has done. */
function fault(what: string): BrokerError {
  return new BrokerError(500, `The provider of this service answered something that cannot be passed on: ${what}.`)
}
