import type { Host, SessionAttributes } from './connection-target.ts'

/** An open connection of an endpoint. */
export interface Sibling {
  /** Process id of the backend; undefined behind a pooler. */
  readonly backendPid: number | undefined
  /** Whether no task uses the connection, and no statement or transaction runs on it. */
  readonly idle: boolean
  /** Destroys the socket. */
  drop(reason: Error): void
}

/**
 * Shared knowledge of all connections to a database: the host that was usable last, whether a pooler rejects startup options,
 * and the open connections.
 */
export class Endpoint {
  readonly attributes: SessionAttributes
  /** Set when the server, or a pooler, accepts connections only without startup options. */
  refusesOptions = false
  readonly #hosts: readonly Host[]
  #preferred: Host | undefined
  readonly #open = new Set<Sibling>()

  /** @param hosts Default: the host and port in the configuration of each client. */
  constructor(hosts: readonly Host[] = [], attributes: SessionAttributes = 'any') {
    this.#hosts = hosts
    this.attributes = attributes
  }

  /** The hosts in the order of the attempts. */
  inTurn(): readonly Host[] {
    const preferred = this.#preferred
    if (preferred === undefined) return this.#hosts
    return [preferred, ...this.#hosts.filter((host) => host !== preferred)]
  }

  /** Tries this host first from now on. */
  prefer(host: Host): void {
    this.#preferred = host
  }

  join(sibling: Sibling): void {
    this.#open.add(sibling)
  }

  leave(sibling: Sibling): void {
    this.#open.delete(sibling)
  }

  /** Drops the idle connections, and returns their backends. */
  dropIdle(reason: Error): number[] {
    const idle = [...this.#open].filter((sibling) => sibling.idle)
    for (const sibling of idle) sibling.drop(reason)
    return idle.flatMap(({ backendPid }) => (backendPid === undefined ? [] : [backendPid]))
  }
}
