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
 * @throws {CatalogUnavailable} when the broker does not answer 200; what the transport throws when it does not answer
 */
export async function fetchCatalog(transport: Transport, requester?: Requester): Promise<string> {
  const headers = { accept: 'application/json', 'x-broker-api-version': '2.17', ...authorization(requester) }
  const reply = await transport({ method: 'GET', path: '/v2/catalog', headers })
  if (reply.status === 200) return reply.text
  throw new CatalogUnavailable(`the broker answered ${reply.status}: ${reply.text.slice(0, MAX_SHOWN)}`)
}

function authorization(requester: Requester | undefined): { authorization?: string } {
  if (requester === undefined) return {}
  const { username, password } = requester
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
}
