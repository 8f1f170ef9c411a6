import type { ServerOptions } from 'node:http'

/** The request line and all headers together; Node's own figure, whatever its command line says. */
const MAX_HEADER_BYTES = 16 * 1024

/** A request is read within this time, or dropped: Fastify has no bound of its own. */
export const REQUEST_TIMEOUT_MS = 30_000

/**
 * What the server takes of one connection. Node's own bounds in time (a minute for the headers, looked at every half
 * minute) let a slow client hold a connection ten times as long.
 */
export const connectionLimits = {
  maxHeaderSize: MAX_HEADER_BYTES,
  headersTimeout: 10_000,
  connectionsCheckingInterval: 1_000,
  // Both are Node's defaults, but a flag can change them: what a proxy and we read differently is smuggled past it.
  insecureHTTPParser: false
} satisfies ServerOptions
