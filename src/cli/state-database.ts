import { ConfigError } from '../config.ts'
import { Unavailable } from '../core/provider.ts'
import { refusalOf } from '../postgres/refusal.ts'

/**
 * Runs `work` on the database of the broker's own state, and says what to do when the server answers and refuses.
 * @throws {ConfigError}
 */
export async function explained<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const cause = error instanceof Unavailable ? error.cause : error
    const refusal = refusalOf(cause)
    if (refusal !== undefined) throw new ConfigError(`${DATABASE_URL}: ${refusal}.`, { cause })
    if (error instanceof Unavailable && cause instanceof Error) {
      throw new Unavailable(`${DATABASE_URL}: the database cannot be used: ${wordsOf(cause)}.`, { cause })
    }
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (UNMIGRATED.test(code)) {
      throw new ConfigError('The schema in that database is not that of this program: run osb migrate.', {
        cause: error
      })
    }
    throw error
  }
}

/** The variable that contains the URL of that database, for messages. */
export const DATABASE_URL = 'DATABASE_URL'

/** The error of a host with several addresses has no message. */
function wordsOf(error: Error): string {
  return error.message || ('code' in error ? String(error.code) : error.name)
}

/** No such table, column or schema. */
const UNMIGRATED = /^(?:42P01|42703|3F000)$/

/** `DATABASE_URL`; an empty one counts as none. */
export function databaseUrl(): string | undefined {
  return process.env.DATABASE_URL || undefined
}
