import type { Pool } from 'pg'
import { type BoundedPoolConfig, openPool } from '../../postgres/index.ts'
import { observePool } from '../../telemetry/index.ts'

/** Connections of the reserve. */
const RESERVE_SIZE = 4
/** How long an unused one of these stays open. */
const RESERVE_IDLE_MS = 10_000

/** What {@link MaintenancePools} need to know. */
interface Place {
  /** Of the server. */
  readonly name: string
  /** Maximum number of connections in the main pool. */
  readonly size: number
  readonly settings: () => BoundedPoolConfig
}

/**
 * The connections to the maintenance database of a server: a pool for all tasks, and a reserve for revocations. Backups and
 * provisions may keep all connections of the pool for minutes, and a revocation must not wait for them.
 */
export class MaintenancePools {
  readonly #place: Place
  #main: Pool | undefined
  #reserve: Pool | undefined
  #stopObserving: (() => void) | undefined

  constructor(place: Place) {
    this.#place = place
  }

  get main(): Pool {
    if (this.#main !== undefined) return this.#main
    const { name, size, settings } = this.#place
    // One stays open, so that tenants who fill the server do not shut the broker out
    const pool = openPool({ ...settings(), max: size, min: 1, allowExitOnIdle: true })
    this.#main = pool
    this.#stopObserving = observePool(`postgresql/${name}`, pool)
    return pool
  }

  /** For short work. */
  get reserve(): Pool {
    const limits = { max: RESERVE_SIZE, idleTimeoutMillis: RESERVE_IDLE_MS, allowExitOnIdle: true }
    this.#reserve ??= openPool({ ...this.#place.settings(), ...limits })
    return this.#reserve
  }

  /** Whether a task would have to wait for a connection of the main pool. */
  get areBusy(): boolean {
    const { idleCount, totalCount, waitingCount } = this.main
    return waitingCount > 0 || (idleCount === 0 && totalCount >= this.#place.size)
  }

  async close(): Promise<void> {
    const pools = [this.#main, this.#reserve]
    this.#main = undefined
    this.#reserve = undefined
    this.#stopObserving?.()
    await Promise.all(pools.map((pool) => pool?.end()))
  }
}
