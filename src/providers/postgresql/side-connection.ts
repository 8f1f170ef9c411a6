import type { QueryResultRow } from 'pg'
import type { BoundedClient, BoundedPoolConfig } from '../../postgres/index.ts'
import { connect } from './connecting.ts'
import type { Query, Statements } from './statement.ts'

const CONNECT_MS = 5_000

/**
 * One connection outside of the pool, for work that must go on while the connections of the pool wait for locks. It stays
 * open between statements, because a server whose lock table or connections are exhausted accepts no new one.
 */
export class SideConnection {
  readonly #settings: () => BoundedPoolConfig
  readonly #statements: Statements
  #connecting: Promise<BoundedClient> | undefined
  /** Settles when the last statement has ended. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(settings: () => BoundedPoolConfig, statements: Statements) {
    this.#settings = settings
    this.#statements = statements
  }

  /** Runs a statement, on a new connection if the last one was lost. Statements run one after another. */
  readonly query: Query = async <Row extends QueryResultRow>(sql: string, values: readonly unknown[] = []) => {
    const client = await this.#connected()
    const running = this.#turn.then(() => this.#statements.on(client)<Row>(sql, values))
    this.#turn = running.catch(() => undefined)
    return await running
  }

  async close(): Promise<void> {
    const connecting = this.#connecting
    this.#connecting = undefined
    const client = await connecting?.catch(() => undefined)
    await client?.end()
  }

  #connected(): Promise<BoundedClient> {
    if (this.#connecting !== undefined) return this.#connecting
    const connecting = connect(AbortSignal.timeout(CONNECT_MS), this.#settings())
    this.#connecting = connecting
    const forget = () => {
      if (this.#connecting === connecting) this.#connecting = undefined
    }
    connecting.then((client) => {
      // An idle side connection does not keep the process alive.
      client.unref()
      client.once('end', forget)
    }, forget)
    return connecting
  }
}
