import type { Transport } from './transport.ts'

/** The catalog could not be had; the message is for people, and holds no credentials. */
export class CatalogUnavailable extends Error {
  override readonly name = 'CatalogUnavailable'
}

/** Who asks, by basic authentication (spec: Platform to Service Broker Authentication). */
export interface Requester {
  readonly username: string
  readonly password: string
}

/** How much of an error's body is repeated. */
const MAX_SHOWN = 200

/**
 * `GET /v2/catalog` (spec: Catalog Management), as it came: what it says is for the caller to check.
 * @param requester none where the broker asks for no credentials
 * @throws {CatalogUnavailable} when the broker does not answer, or not with 200
 */
export async function fetchCatalog(transport: Transport, requester?: Requester): Promise<string> {
  const headers = { accept: 'application/json', 'x-broker-api-version': '2.17', ...authorization(requester) }
  const reply = await transport({ method: 'GET', path: '/v2/catalog', headers }).catch((cause: unknown) => {
    throw new CatalogUnavailable(`the broker does not answer: ${reasonOf(cause)}`, { cause })
  })
  if (reply.status === 200) return reply.text
  throw new CatalogUnavailable(`the broker answered ${reply.status}: ${reply.text.slice(0, MAX_SHOWN)}`)
}

function authorization(requester: Requester | undefined): { authorization?: string } {
  if (requester === undefined) return {}
  const { username, password } = requester
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
}

/** The error of an address that has several IPs holds one for each, and no message of its own. */
function reasonOf(cause: unknown): string {
  if (cause instanceof AggregateError && cause.message === '') return cause.errors.map(reasonOf).join(', ')
  return cause instanceof Error ? cause.message : String(cause)
}
