import type { StartContext, WatchRound } from '../../../core/provider.ts'
import type { Servers } from '../servers.ts'
import { Journal } from './journal.ts'
import { ServerGuard } from './server-guard.ts'

/**
 * Ends sessions of tenants that harm other tenants or the broker, on every server, about every second. `docs/postgresql.md`
 * lists the rules.
 */
export class Guard {
  readonly #servers: Servers
  readonly #journal = new Journal()
  #guards: ServerGuard[] = []

  constructor(servers: Servers) {
    this.#servers = servers
  }

  async start(context: StartContext): Promise<void> {
    if (this.#guards.length > 0) return
    this.#journal.begin(context, this.#servers.names)
    this.#guards = [...this.#servers.all()].map((server) => new ServerGuard(server, this.#journal, context.log))
    await Promise.all(this.#guards.map((guard) => guard.start()))
  }

  async stop(): Promise<void> {
    const guards = this.#guards.splice(0)
    await Promise.all(guards.map((guard) => guard.stop()))
  }

  /** Remembers which instance a token belongs to, for the audit. */
  learn(instanceId: string, { token }: { readonly token: string }): void {
    this.#journal.learn(instanceId, token)
  }

  /** Writes the audit events of instances that were unknown when the guard acted. */
  async resolve(round: WatchRound): Promise<void> {
    await this.#journal.resolve(round)
  }
}
