import { readFile } from 'node:fs/promises'
import { CatalogUnavailable, fetchCatalog, type Requester } from '../client/catalog.ts'
import { httpTransport } from '../client/transport.ts'
import { type Arguments, type Command, UsageError } from './command.ts'

/** Options that say how to reach a broker. */
export const servedOptions = {
  username: { type: 'string' },
  password: { type: 'string' },
  ca: { type: 'string' }
} satisfies Command['options']

/** Whether what was written is a broker's root and not a file. */
export function isUrl(text: string): boolean {
  return /^https?:\/\//i.test(text)
}

/** A URL as it may be printed. */
export function withoutCredentials(text: string): string {
  if (!URL.canParse(text)) return text.replace(/\/\/[^/]*@/, '//')
  const url = new URL(text)
  url.username = ''
  url.password = ''
  return url.href
}

/**
 * The catalog that a broker serves, as it came.
 * @throws {UsageError} when the broker cannot be asked; {@link CatalogUnavailable} when it does not answer it
 */
export async function readServedCatalog(url: string, values: Arguments['values']): Promise<string> {
  const shown = withoutCredentials(url)
  if (!URL.canParse(url)) throw new UsageError(`${shown} is not a URL.`)
  const { ca } = values
  const transport = httpTransport({ url, ca: typeof ca === 'string' ? await readAuthority(ca) : undefined })
  try {
    return await fetchCatalog(transport, requesterFrom(new URL(url), values))
  } catch (error) {
    if (!(error instanceof CatalogUnavailable)) throw error
    throw new CatalogUnavailable(`${shown}: ${error.message}`, { cause: error })
  }
}

async function readAuthority(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    throw new UsageError(`--ca cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function requesterFrom(url: URL, values: Arguments['values']): Requester | undefined {
  const given = (option: 'username' | 'password', variable: string) => {
    const value = values[option] ?? process.env[variable]
    // An empty variable counts as unset.
    return typeof value === 'string' && value !== '' ? value : undefined
  }
  const username = given('username', 'OSB_USERNAME') ?? decoded(url.username)
  const password = given('password', 'OSB_PASSWORD') ?? decoded(url.password)
  if (username === undefined && password === undefined) return undefined
  if (username === undefined || password === undefined) {
    throw new UsageError('Give both --username (or OSB_USERNAME) and --password (or OSB_PASSWORD).')
  }
  return { username, password }
}

function decoded(text: string): string | undefined {
  return text === '' ? undefined : decodeURIComponent(text)
}
