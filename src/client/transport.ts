import { request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { BrokerUnreachable } from './errors.ts'

/** A request as it goes over the wire; nothing is added, encoded or checked. */
export interface WireRequest {
  readonly method: string
  /** From the root of the broker on, with the query, percent-encoded: `/v2/catalog`. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | undefined
}

/** An answer as it came; header names in lower case. */
export interface WireReply {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

/** What carries requests to a broker: HTTP, `inject`, or something of a test's own around either. */
export type Transport = (request: WireRequest, signal?: AbortSignal) => Promise<WireReply>

/** Where {@link httpTransport} finds the broker, and whom it trusts. */
export interface HttpTransportOptions {
  /** Root of the broker, a path prefix included: `https://broker.example.com/osb`. */
  readonly url: string
  /** PEM of the authorities to trust instead of the well-known ones. */
  readonly ca?: string | undefined
  /** How long a request may take; default 60,000, which is Cloud Controller's. */
  readonly timeoutMs?: number | undefined
}

const DEFAULT_TIMEOUT_MS = 60_000

/**
 * Carries requests over HTTP or HTTPS, without following redirects: a broker must answer where it is.
 * @throws {TypeError} when the URL is none; requests reject with {@link BrokerUnreachable} when there comes no answer
 */
export function httpTransport({ url, ca, timeoutMs = DEFAULT_TIMEOUT_MS }: HttpTransportOptions): Transport {
  const { protocol, hostname, port, pathname } = new URL(url)
  if (protocol !== 'http:' && protocol !== 'https:') {
    throw new TypeError(`The URL of a broker begins with http:// or https://; given was ${url}.`)
  }
  const prefix = pathname.replace(/\/+$/, '')
  const send = protocol === 'https:' ? httpsRequest : httpRequest
  return ({ method, path, headers, body }, signal) => {
    const deadline = AbortSignal.timeout(timeoutMs)
    const outgoing = send({
      protocol,
      hostname: hostname.replace(/^\[|\]$/g, ''),
      port,
      method,
      path: prefix + path,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }) },
      signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
      ...(ca === undefined ? {} : { ca })
    })
    return new Promise((resolve, fail) => {
      const reject = (error: Error) =>
        fail(signal?.aborted === true ? error : unreachable(url, deadline.aborted ? undefined : error))
      outgoing.once('error', reject)
      outgoing.once('response', (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.once('error', reject)
        incoming.once('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          resolve({ status: incoming.statusCode ?? 0, headers: flat(incoming.headers), text })
        })
      })
      outgoing.end(body)
    })
  }
}

function unreachable(url: string, error: Error | undefined): BrokerUnreachable {
  const { protocol, host, pathname } = new URL(url)
  const reason = error === undefined ? 'it does not answer in time' : reasonOf(error)
  return new BrokerUnreachable(`${protocol}//${host}${pathname} cannot be reached: ${reason}`, { cause: error })
}

/** The error of an address that has several IPs holds one for each, and no message of its own. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === '') return error.errors.map(reasonOf).join(', ')
  return error instanceof Error ? error.message : String(error)
}

/** The part of a Fastify application that {@link injectTransport} needs. */
export interface Injectable {
  // biome-ignore lint/suspicious/noExplicitAny: the parameter of `inject` differs between versions of light-my-request
  inject(options: any): Promise<{
    statusCode: number
    headers: Readonly<Record<string, unknown>>
    payload: string
  }>
}

/** Carries requests into a Fastify application that need not listen. */
export function injectTransport(app: Injectable, prefix = ''): Transport {
  return async ({ method, path, headers, body }, signal) => {
    const payload = body instanceof Uint8Array ? Buffer.from(body) : body
    const reply = await app.inject({ method, url: prefix + path, headers, payload, signal })
    return { status: reply.statusCode, headers: flat(reply.headers), text: reply.payload }
  }
}

function flat(headers: Readonly<Record<string, unknown>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}
