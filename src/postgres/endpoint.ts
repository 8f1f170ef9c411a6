import type { Host, SessionAttributes } from './connection-target.ts'

/** An open connection, as the others of its endpoint see it. */
export interface Sibling {
  /** The backend of the connection; undefined when a pooler is between. */
  readonly backendPid: number | undefined
  /** Whether no statement and no transaction is under way on it. */
  readonly idle: boolean
  /** Closes the connection at once, without a word to the server. */
  drop(reason: Error): void
}

/**
 * What the connections to one database know of it together: which host was usable last, whether a pooler refuses startup
 * options, and which connections are open.
 */
export class Endpoint {
  readonly attributes: SessionAttributes
  /** Set when the server, or a pooler before it, accepts connections only without startup options. */
  refusesOptions = false
  readonly #hosts: readonly Host[]
  #preferred: Host | undefined
  readonly #open = new Set<Sibling>()

  /** @param hosts none: where node-postgres connects by itself. */
  constructor(hosts: readonly Host[] = [], attributes: SessionAttributes = 'any') {
    this.#hosts = hosts
    this.attributes = attributes
  }

  /** The hosts in the order in which to try them. */
  inTurn(): readonly Host[] {
    const preferred = this.#preferred
    if (preferred === undefined) return this.#hosts
    return [preferred, ...this.#hosts.filter((host) => host !== preferred)]
  }

  /** Notes the host that a usable session was opened on. */
  prefer(host: Host): void {
    this.#preferred = host
  }

  join(sibling: Sibling): void {
    this.#open.add(sibling)
  }

  leave(sibling: Sibling): void {
    this.#open.delete(sibling)
  }

  /** Drops the connections on which nothing is under way, and returns their backends. */
  dropIdle(reason: Error): number[] {
    const idle = [...this.#open].filter((sibling) => sibling.idle)
    for (const sibling of idle) sibling.drop(reason)
    return idle.flatMap(({ backendPid }) => (backendPid === undefined ? [] : [backendPid]))
  }
}
