import { CatalogUnavailable, fetchCatalog } from '../client/catalog.ts'
import type { Arguments } from './command.ts'
import { connectionTo, withoutCredentials } from './connection.ts'

/** Whether what was written is a broker's root and not a file. */
export function isUrl(text: string): boolean {
  return /^https?:\/\//i.test(text)
}

/**
 * The catalog that a broker serves, as it came.
 * @throws {UsageError} when the broker cannot be asked; {@link CatalogUnavailable} when it does not answer it
 */
export async function readServedCatalog(url: string, values: Arguments['values']): Promise<string> {
  const { transport, username, password } = connectionTo(url, values)
  const requester = username === undefined || password === undefined ? undefined : { username, password }
  try {
    return await fetchCatalog(transport, requester)
  } catch (error) {
    if (!(error instanceof CatalogUnavailable)) throw error
    throw new CatalogUnavailable(`${withoutCredentials(url)}: ${error.message}`, { cause: error })
  }
}
