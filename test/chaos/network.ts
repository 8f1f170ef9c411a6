import { openTcpProxy, type TcpProxy } from '../helper/tcp-proxy.ts'

/** What is at the other end of a replica's connections. */
export type Side = 'state' | 'tenants'

export const sides = ['state', 'tenants'] as const

/** The connections of one replica to its databases, each through a proxy of its own. */
export class Network {
  readonly #ways: Record<Side, TcpProxy[]>

  private constructor(ways: Record<Side, TcpProxy[]>) {
    this.#ways = ways
  }

  /** @param ports of the servers, in the order of the hosts of a URL */
  static async open(ports: Record<Side, readonly number[]>): Promise<Network> {
    return new Network({
      state: await Promise.all(ports.state.map(openTcpProxy)),
      tenants: await Promise.all(ports.tenants.map(openTcpProxy))
    })
  }

  /** The proxies to this side, in the order of their servers. */
  to(side: Side): readonly TcpProxy[] {
    return this.#ways[side]
  }

  /** Everything passes again; what was frozen passes too. */
  heal(): void {
    for (const proxy of [...this.#ways.state, ...this.#ways.tenants]) {
      proxy.refuse(false)
      proxy.thaw()
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#ways.state, ...this.#ways.tenants].map((proxy) => proxy.close()))
  }
}

/** The URL with the proxies in place of its server. */
export function throughAll(url: string, proxies: readonly TcpProxy[]): string {
  const hosts = proxies.map(({ port }) => `127.0.0.1:${port}`).join(',')
  const { username, password, pathname } = new URL(url)
  const query = proxies.length > 1 ? '?target_session_attrs=read-write' : ''
  return `postgresql://${username}:${password}@${hosts}${pathname}${query}`
}
