import { connect, createServer, type Socket } from 'node:net'

/** How the answer to a COMMIT gets lost: the connection is reset, or nothing passes on it any more. */
export type LostCommit = 'cut' | 'freeze'

/** Stands between a client and a server on loopback, and breaks the connections as a network does. */
export interface TcpProxy {
  /** The port to connect to, on 127.0.0.1. */
  readonly port: number
  /** Number of open connections. */
  readonly open: number
  /** Number of COMMITs whose answer was lost so far. */
  readonly lostCommits: number
  /**
   * From now on nothing passes on the connections that are open, and neither side learns of it: no FIN, no RST, as behind
   * a firewall that has forgotten them. New connections work, unless `all` is set.
   */
  freeze(options?: { readonly all?: boolean }): void
  /** Frozen connections pass data again, what was held back first. */
  thaw(): void
  /** Resets all open connections. */
  cut(): void
  /** While set, new connections are reset at once. */
  refuse(refusing: boolean): void
  /**
   * The server executes the next COMMITs, and the client does not learn of it. A count of 0 ends that.
   * @param skip number of COMMITs that pass before
   */
  loseCommits(how: LostCommit, count?: number, skip?: number): void
  /** Points new connections at another server. */
  retarget(port: number): void
  close(): Promise<void>
}

interface Link {
  readonly client: Socket
  readonly server: Socket
  frozen: boolean
  /** What was held back while frozen, in order. */
  readonly held: (() => void)[]
  /** Set when the answer to a COMMIT that has just passed is to be lost. */
  losing: LostCommit | undefined
}

/** A COMMIT of its own as the simple query protocol has it; node-postgres sends it so. */
const COMMIT = /COMMIT\0/

/** Opens a proxy to a port on 127.0.0.1. */
export async function openTcpProxy(targetPort: number): Promise<TcpProxy> {
  const links = new Set<Link>()
  let target = targetPort
  let refusing = false
  let freezing = false
  let losing: { how: LostCommit; left: number; skip: number } | undefined
  let lostCommits = 0

  // Half open: otherwise Node.js answers the end of one side by itself, while nothing is to pass.
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    if (refusing) {
      reset(client)
      return
    }
    const link: Link = {
      client,
      server: connect({ port: target, host: '127.0.0.1', noDelay: true, allowHalfOpen: true }),
      frozen: freezing,
      held: [],
      losing: undefined
    }
    links.add(link)
    const end = () => {
      links.delete(link)
      for (const socket of [link.client, link.server]) socket.destroy()
    }
    const pass = (work: () => void) => {
      if (link.frozen) link.held.push(work)
      else work()
    }
    client.on('data', (data) => {
      if (losing !== undefined && !link.frozen && COMMIT.test(data.toString('latin1'))) {
        if (losing.skip > 0) losing.skip -= 1
        else {
          link.losing = losing.how
          losing.left -= 1
          if (losing.left <= 0) losing = undefined
        }
      }
      pass(() => link.server.write(data))
    })
    link.server.on('data', (data) => {
      if (link.losing === 'cut') {
        lostCommits += 1
        reset(client)
        return
      }
      if (link.losing === 'freeze') {
        lostCommits += 1
        link.losing = undefined
        link.frozen = true
      }
      pass(() => client.write(data))
    })
    // The end of one side reaches the other only where data would, too.
    for (const [one, other] of [
      [client, link.server],
      [link.server, client]
    ] as const) {
      one.on('end', () => pass(() => other.end()))
      one.on('error', () => pass(end))
      one.on('close', () => pass(end))
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port')

  const cut = () => {
    for (const link of links) {
      reset(link.client)
      link.server.destroy()
      links.delete(link)
    }
  }
  return {
    port: address.port,
    get open() {
      return links.size
    },
    get lostCommits() {
      return lostCommits
    },
    freeze({ all = false } = {}) {
      freezing = all
      for (const link of links) link.frozen = true
    },
    thaw() {
      freezing = false
      for (const link of links) {
        link.frozen = false
        for (const work of link.held.splice(0)) work()
      }
    },
    cut,
    refuse(on) {
      refusing = on
    },
    loseCommits(how, count = 1, skip = 0) {
      losing = count > 0 ? { how, left: count, skip } : undefined
    },
    retarget(port) {
      target = port
    },
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      cut()
      await closed
    }
  }
}

/**
 * Resets a connection. The kernel refuses that while an end is on its way: Node.js would then lose the socket without closing
 * it, and the process could not exit.
 */
function reset(socket: Socket): void {
  if (socket.writableEnded) socket.destroy()
  else socket.resetAndDestroy()
}
