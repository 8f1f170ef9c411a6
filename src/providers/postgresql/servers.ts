import { type Task, type TaskLog, Unavailable } from '../../core/provider.ts'
import { ConnectionRefused, ConnectionUrlError, isLoginFailure, isTlsFailure, refusalOf } from '../../postgres/index.ts'
import { faultOf, logFault, ServerUnfit } from './faults.ts'
import { DEFAULT_SERVER, type NamedServer } from './options.ts'
import { AdminServer } from './server.ts'

const DEFAULT_MAX_DATABASES = 10_000

/** The servers that databases are made on, by name. */
export class Servers {
  readonly #servers: ReadonlyMap<string, AdminServer>

  /** @param poolSize Maintenance connections to each of them. */
  constructor(servers: readonly NamedServer[], poolSize?: number) {
    this.#servers = new Map(
      servers.map(({ name, setting, server }) => [name, new AdminServer(server, { name, setting, poolSize })])
    )
    if (this.#servers.size === 0) throw new Error('The provider postgresql needs a server.')
  }

  get names(): string[] {
    return [...this.#servers.keys()]
  }

  all(): Iterable<AdminServer> {
    return this.#servers.values()
  }

  /**
   * The server that an instance is on.
   * @throws {Unavailable} when it is no longer among those configured: only its operator can bring it back
   */
  of({ server: name = DEFAULT_SERVER }: { readonly server?: string }, log: TaskLog): AdminServer {
    const server = this.#servers.get(name)
    if (server !== undefined) return server
    log.error({ server: name, known: this.names }, 'An instance is on a server that is not configured.')
    throw new Unavailable('The database server of this service instance is not configured.')
  }

  /**
   * The server with the largest share of free places, of those that answer. Provisions that run at the same moment may
   * choose the same one, and fill it by as many more.
   * @throws {Unavailable} when none has room, or none answers
   */
  async emptiest(names: readonly string[] = this.names, { log, signal }: Task): Promise<AdminServer> {
    const only = this.#servers.get(names[0] ?? '')
    if (names.length === 1 && only !== undefined && only.options.maxDatabases === undefined) return only
    const fills = await Promise.all(names.map((name) => this.#fill(this.of({ server: name }, log), log)))
    signal.throwIfAborted()
    const answering = fills.filter((fill) => fill !== undefined)
    if (answering.length === 0) throw new Unavailable('No database server of the plan can be reached at the moment.')
    const [emptiest] = answering.sort((a, b) => a.share - b.share)
    if (emptiest !== undefined && emptiest.share < 1) return emptiest.server
    log.error({ servers: names }, 'The database servers of a plan are full.')
    throw new Unavailable('The database servers of the plan have no room for another database.')
  }

  async close(): Promise<void> {
    await Promise.all([...this.all()].map((server) => server.close()))
  }

  async #fill(server: AdminServer, log: TaskLog) {
    try {
      await server.ready()
      const { maxDatabases = DEFAULT_MAX_DATABASES } = server.options
      return { server, share: (await server.countDatabases()) / maxDatabases }
    } catch (error) {
      const fault = faultOf(error)
      if (fault === undefined) throw error
      logFault(log, fault, error)
      return undefined
    }
  }

  /**
   * Prepares every server. A server that is down is prepared later, by the first task.
   * @throws {ConnectionUrlError} when an admin's URL cannot be used
   * @throws {ConnectionRefused} when a server refuses the admin's login, or its TLS is not what the URL asks for
   * @throws {ServerUnfit} when a server is too old or its admin's rights do not suffice
   */
  async start(): Promise<void> {
    await Promise.all([...this.all()].map(startServer))
  }

  /** @throws when a server does not answer */
  async ping(): Promise<void> {
    await Promise.all([...this.all()].map((server) => server.ping()))
  }
}

async function startServer(server: AdminServer): Promise<void> {
  try {
    await server.ready()
  } catch (error) {
    if (error instanceof ServerUnfit || error instanceof ConnectionUrlError) throw error
    const reason = isLoginFailure(error) || isTlsFailure(error) ? refusalOf(error) : undefined
    if (reason !== undefined) throw new ConnectionRefused(server.setting, reason, { cause: error })
  }
}
