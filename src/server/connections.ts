import type { IncomingMessage, Server } from 'node:http'
import type { Server as SecureServer } from 'node:https'
import type { Socket } from 'node:net'
import { stateOf } from '../../plugins/client-errors.ts'
import { networkOf } from '../../plugins/network-of.ts'

export interface ConnectionBounds {
  /** Open connections in total. */
  readonly max: number
  /** Open connections of one address; an IPv6 address stands for its /64. */
  readonly maxPerAddress: number
  /** Whether an address is exempt from `maxPerAddress`, such as that of a proxy in front. Default: none is. */
  readonly isExempt?: (address: string) => boolean
}

/** Connections beyond a bound that are kept open so that the client can read why it is refused; then the oldest is closed. */
const SPARE_CONNECTIONS = 64
/** Node accepts a whole backlog before closed connections leave its count, so its own limit must be above ours. */
const BACKLOG = 512
/** No answer to an unauthenticated request takes as long, so that the client does not read one that does. */
const STALLED_MS = 10_000

interface Connection {
  readonly network: string
  /** Whether the address is exempt from the limit of an address. */
  readonly exempt: boolean
  /** Addresses and ports of both ends, because a client may use one port for two of our addresses. */
  readonly peer: string
  /** The socket of requests: with TLS, not the one that was accepted. */
  socket: Socket
  /** No request has begun on an unused connection; an authenticated one is never closed for others. */
  state: 'unused' | 'used' | 'authenticated'
  /** As `performance.now()` told. */
  lastRequestAt: number
  surplus: 'total' | 'address' | undefined
}

/** Connections of one network, oldest first. */
interface Network {
  readonly all: Set<Connection>
  readonly unused: Set<Connection>
}

/**
 * The open connections of a server, in total and by address. When a bound is reached, connections that were opened and
 * never used are closed first, then idle ones without an authenticated request, then busy ones without one of an address that
 * has more connections than the new one's. If there are none, the new connection is marked as surplus, and its requests are
 * refused.
 */
export class Connections {
  readonly #bounds: ConnectionBounds
  readonly #open = new Set<Connection>()
  /** With TLS, requests have another socket than the one that was accepted; both have the same peer. */
  readonly #byPeer = new Map<string, Connection>()
  readonly #networks = new Map<string, Network>()
  readonly #bySocket = new WeakMap<object, Connection>()
  /** Oldest first. */
  readonly #surplus = new Set<Connection>()

  constructor(server: Server | SecureServer, bounds: ConnectionBounds) {
    this.#bounds = bounds
    server.maxConnections = bounds.max + SPARE_CONNECTIONS + BACKLOG
    server.on('connection', (socket: Socket) => this.#admit(socket))
    server.on('secureConnection', (socket: Socket) => this.#secure(socket))
    server.prependListener('request', ({ socket }: IncomingMessage) => this.#use(socket))
  }

  /** The sockets that requests come on. */
  get sockets(): Socket[] {
    return [...this.#open].map(({ socket }) => socket)
  }

  /** Which bound the connection exceeds. */
  surplusOf(socket: object): Connection['surplus'] {
    return this.#bySocket.get(socket)?.surplus
  }

  /** Marks a connection as that of a client with credentials. */
  authenticated(socket: object): void {
    const connection = this.#bySocket.get(socket)
    if (connection !== undefined) connection.state = 'authenticated'
  }

  #admit(socket: Socket): void {
    const { remoteAddress = '' } = socket
    const network = networkOf(remoteAddress)
    const peer = peerOf(socket)
    const exempt = this.#bounds.isExempt?.(remoteAddress) === true
    const connection: Connection = {
      network,
      exempt,
      peer,
      socket,
      state: 'unused',
      lastRequestAt: 0,
      surplus: undefined
    }
    const own = this.#networks.get(network) ?? { all: new Set(), unused: new Set() }
    this.#networks.set(network, own)
    own.all.add(connection)
    own.unused.add(connection)
    this.#open.add(connection)
    this.#byPeer.set(peer, connection)
    this.#bySocket.set(socket, connection)
    socket.once('close', () => this.#forget(connection))
    const exceeded = this.#exceeded(own, connection)
    if (exceeded === undefined) return
    const victim = exceeded === 'address' ? victimIn(own, connection) : this.#victim(connection)
    if (victim !== undefined) {
      this.#close(victim)
      return
    }
    connection.surplus = exceeded
    own.unused.delete(connection)
    this.#surplus.add(connection)
    const [oldest] = this.#surplus
    if (oldest !== undefined && this.#surplus.size > SPARE_CONNECTIONS) this.#close(oldest)
  }

  #exceeded({ all }: Network, { exempt }: Connection): 'total' | 'address' | undefined {
    const { max, maxPerAddress } = this.#bounds
    if (all.size > maxPerAddress && !exempt) return 'address'
    return this.#open.size - this.#surplus.size > max ? 'total' : undefined
  }

  /** Of the address with the most connections of a kind, because that is most likely the one that floods. */
  #victim(newcomer: Connection): Connection | undefined {
    const networks = [...this.#networks.values()]
    const flooding = networks.reduce((one, other) => (other.unused.size > one.unused.size ? other : one))
    const unused = firstOther(flooding.unused, newcomer)
    if (unused !== undefined) return unused
    networks.sort((one, other) => other.all.size - one.all.size)
    for (const network of networks) {
      const victim = victimIn(network, newcomer)
      if (victim !== undefined) return victim
    }
    return this.#ofLargerNetwork(networks, newcomer)
  }

  /**
   * Finds the oldest connection without an authenticated request in a network that has more connections than the newcomer's.
   * Otherwise clients that never read their answers could keep all other networks out.
   */
  #ofLargerNetwork(largestFirst: readonly Network[], newcomer: Connection): Connection | undefined {
    const own = this.#networks.get(newcomer.network)?.all.size ?? 0
    for (const { all } of largestFirst) {
      if (all.size <= own) return undefined
      const victim = [...all].find(({ state, surplus, exempt }) => state === 'used' && surplus === undefined && !exempt)
      if (victim !== undefined) return victim
    }
    return undefined
  }

  #secure(socket: Socket): void {
    const connection = this.#byPeer.get(peerOf(socket))
    if (connection === undefined) return
    connection.socket = socket
    this.#bySocket.set(socket, connection)
  }

  #use(socket: object): void {
    const connection = this.#bySocket.get(socket)
    if (connection === undefined) return
    connection.lastRequestAt = performance.now()
    if (connection.state !== 'unused') return
    connection.state = 'used'
    this.#networks.get(connection.network)?.unused.delete(connection)
  }

  /** Takes it out of the counts at once: its socket reports the close later. */
  #close(connection: Connection): void {
    this.#forget(connection)
    connection.socket.destroy()
  }

  #forget(connection: Connection): void {
    if (!this.#open.delete(connection)) return
    if (this.#byPeer.get(connection.peer) === connection) this.#byPeer.delete(connection.peer)
    this.#surplus.delete(connection)
    const network = this.#networks.get(connection.network)
    network?.all.delete(connection)
    network?.unused.delete(connection)
    if (network?.all.size === 0) this.#networks.delete(connection.network)
  }
}

function peerOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string {
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`
}

function victimIn({ all, unused }: Network, newcomer: Connection): Connection | undefined {
  return firstOther(unused, newcomer) ?? [...all].find(isIdle)
}

/** The oldest that is not the new one. */
function firstOther(connections: Iterable<Connection>, newcomer: Connection): Connection | undefined {
  for (const connection of connections) if (connection !== newcomer) return connection
  return undefined
}

function isIdle({ state, surplus, socket, lastRequestAt }: Connection): boolean {
  if (state !== 'used' || surplus !== undefined) return false
  return stateOf(socket) === 'unused' || performance.now() - lastRequestAt > STALLED_MS
}
