import { ConfigError } from '../config.ts'

/**
 * Runs `work` on the database of the broker's own state, and says what to do when the server answers and refuses.
 * @throws {ConfigError}
 */
export async function explained<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (error instanceof Error && REFUSED.test(code)) {
      throw new ConfigError(`DATABASE_URL: ${error.message}.`, { cause: error })
    }
    if (UNMIGRATED.test(code)) {
      throw new ConfigError('The schema in that database is not that of this program: run osb migrate.', {
        cause: error
      })
    }
    throw error
  }
}

/** Wrong user or password, no such database, or no right to what is in it. */
const REFUSED = /^(?:28...|3D000|42501)$/
/** No such table, column or schema. */
const UNMIGRATED = /^(?:42P01|42703|3F000)$/

/** `DATABASE_URL`; an empty one counts as none. */
export function databaseUrl(): string | undefined {
  return process.env.DATABASE_URL || undefined
}
