/** Session settings are ours to choose: one in the URL would beat them. */
const SESSION_PARAMETERS = [
  'options',
  'application_name',
  'fallback_application_name',
  'lock_timeout',
  'statement_timeout',
  'idle_in_transaction_session_timeout'
]

const DEFAULT_PORT = 5432

/** The admin's URL, and those of other databases and logins of the same server. */
export class AdminUrl {
  readonly #url: URL

  /** @param caFile authority to check the server's certificate against, where the URL asks for TLS and names none */
  constructor(adminUrl: string, caFile?: string) {
    if (!URL.canParse(adminUrl)) throw new Error('The PostgreSQL admin URL is not a URL.')
    this.#url = new URL(adminUrl)
    const { searchParams } = this.#url
    for (const name of SESSION_PARAMETERS) searchParams.delete(name)
    const mode = searchParams.get('sslmode') ?? 'disable'
    if (caFile !== undefined && mode !== 'disable' && !searchParams.has('sslrootcert')) {
      searchParams.set('sslrootcert', caFile)
    }
  }

  /** As bindings are to be told; a socket's directory means the local host. */
  get host(): string {
    const host = this.#url.hostname === '' ? (this.#url.searchParams.get('host') ?? '') : this.#url.hostname
    return host === '' || host.startsWith('/') || host.startsWith('%2F')
      ? 'localhost'
      : host.replace(/^\[(.+)\]$/, '$1')
  }

  get port(): number {
    return Number(this.#url.port || this.#url.searchParams.get('port') || DEFAULT_PORT)
  }

  /** The maintenance database, as the admin. */
  toString(): string {
    return this.#url.href
  }

  /** Another database, as the admin. */
  toDatabase(database: string): string {
    const url = new URL(this.#url)
    url.pathname = `/${encodeURIComponent(database)}`
    return url.href
  }

  /** A database, as somebody else. */
  toLogin({ database, username, password }: { database: string; username: string; password: string }): string {
    const url = new URL(this.toDatabase(database))
    url.searchParams.delete('user')
    url.searchParams.delete('password')
    url.username = username
    url.password = password
    return url.href
  }
}
