/** What went wrong, for programs; the message is for people. */
export type EmbeddedPostgresErrorCode =
  /** No PostgreSQL binaries for this machine, or they cannot be made to run. */
  | 'no-binary'
  /** Another live process owns the data directory. */
  | 'in-use'
  /** Another program listens on the port. */
  | 'port-taken'
  /** No account to run the server as. */
  | 'no-account'
  /** The data directory cannot be used as it is. */
  | 'bad-data-dir'
  /** A setting that is refused. */
  | 'bad-setting'
  /** The server does not start or does not become ready. */
  | 'start-failed'
  /** The server kept dying and is not restarted any more. */
  | 'gave-up'

/** Every failure of the embedded server. The message says what happened and what to do; it never holds a password. */
export class EmbeddedPostgresError extends Error {
  readonly code: EmbeddedPostgresErrorCode

  constructor(code: EmbeddedPostgresErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'EmbeddedPostgresError'
    this.code = code
  }
}

/** The two ways to run the broker without the embedded server. */
export const waysOut =
  'Use a PostgreSQL server of your own (BROKER_STORAGE=postgres with DATABASE_URL=postgresql://…), ' +
  'or keep the state in memory (BROKER_STORAGE=memory).'

/** The `code` of a system error such as `ENOENT`. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** A catch handler that swallows the named system errors and throws anything else on. */
export function ignoring(...codes: string[]): (error: unknown) => undefined {
  return (error) => {
    const code = errnoOf(error)
    if (code === undefined || !codes.includes(code)) throw error
    return undefined
  }
}
