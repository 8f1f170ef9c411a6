import type { Pool, PoolClient } from 'pg'
import { BoundedClient, cancelStatement, codeOf, dropIdle } from '../../postgres/index.ts'
import { isLockTableFull, repeated } from './full-lock-table.ts'
import { asUnavailable, isLost, unreachable } from './trouble.ts'

/**
 * How long the store may take for one call, in milliseconds: waiting for a connection, a transaction and its COMMIT
 * together. The request that waits has to be answered within 8 s.
 */
const CALL_MS = 5_000

/** A connection on loan from the pool. */
export interface Checkout {
  readonly client: PoolClient
  readonly pool: Pool
  /** Whether the session has the bounds of the store; otherwise each transaction has to set them. */
  readonly bounded: boolean
  /** Whether no pooler is between client and server, so that prepared statements persist. */
  readonly direct: boolean
  /** Why the connection must not go back to the pool. */
  broken?: Error
  /** Cancels the running statement on the server. The connection is closed after that. */
  giveUp(reason: Error): void
  /** Gives it back. */
  release(): void
}

/** Runs `work` with a connection of the pool, within the time of one call. */
export async function withClient<T>(pool: Pool, work: (checkout: Checkout) => Promise<T>): Promise<T> {
  const until = performance.now() + CALL_MS
  const checkout = await repeated(() => connect(pool))
  try {
    return await within(until - performance.now(), work(checkout), (late) => checkout.giveUp(late))
  } catch (error) {
    if (checkout.broken !== undefined) throw unreachable(error)
    // The server may have said goodbye in the answer to a statement, before the connection closes.
    if (isLost(error) && !isLockTableFull(error)) checkout.broken = toError(error)
    // The primary has become a standby, so the other connections cannot write either.
    if (codeOf(error) === '25006') dropIdle(pool, toError(error))
    throw asUnavailable(error)
  } finally {
    checkout.release()
  }
}

/** How long the latest of those that wanted a connection of a pool has waited, and since when others wait, oldest first. */
interface Waits {
  latestMs: number
  readonly since: Set<{ readonly began: number }>
}

const waits = new WeakMap<Pool, Waits>()

function waitsFor(pool: Pool): Waits {
  const known = waits.get(pool) ?? { latestMs: 0, since: new Set() }
  waits.set(pool, known)
  return known
}

/** How long it takes at present to get a connection, in milliseconds; 0 while nobody waits. */
export function queueMs(pool: Pool): number {
  if (pool.waitingCount === 0) return 0
  const { latestMs, since } = waitsFor(pool)
  const [oldest] = since
  return Math.max(latestMs, oldest === undefined ? 0 : performance.now() - oldest.began)
}

/**
 * A connection of the pool, which waits for ever unless it was told otherwise, and it is not ours to tell.
 * @throws {Unavailable}
 */
export function connect(pool: Pool): Promise<Checkout> {
  const waiting = waitsFor(pool)
  const entry = { began: performance.now() }
  waiting.since.add(entry)
  return new Promise((resolve, reject) => {
    let late = false
    const timer = setTimeout(() => {
      late = true
      waiting.since.delete(entry)
      reject(unreachable(new Error(`timeout expired: no connection within ${CALL_MS} ms`)))
    }, CALL_MS)
    pool.connect((error, client, release) => {
      clearTimeout(timer)
      waiting.since.delete(entry)
      waiting.latestMs = performance.now() - entry.began
      if (client === undefined) reject(asUnavailable(error))
      else if (late) release()
      // Here and not a microtask later: one network packet can hold the end of the login and a FATAL error.
      else resolve(checkoutOf(pool, client))
    })
  })
}

function checkoutOf(pool: Pool, client: PoolClient): Checkout {
  const onError = (error: Error) => {
    checkout.broken ??= error
  }
  // The pool takes its listener off while a client is checked out; a connection lost then would end the process.
  client.on('error', onError)
  let canceling: Promise<void> | undefined
  const free = () => {
    // The pool puts its listener back before ours goes. With an error it closes the connection.
    client.release(checkout.broken)
    client.off('error', onError)
  }
  const own = client instanceof BoundedClient ? client : undefined
  const checkout: Checkout = {
    client,
    pool,
    bounded: own?.bounded === true,
    direct: own?.direct === true,
    giveUp(reason) {
      checkout.broken = reason
      canceling = own?.abandon(reason) ?? abandon(pool, client, reason)
    },
    release() {
      // The connection counts until its statement is canceled, so that backends never outnumber the pool.
      if (canceling === undefined) free()
      else void canceling.finally(free)
    }
  }
  return checkout
}

/** {@link BoundedClient.abandon} for a connection of a host's pool. */
async function abandon(pool: Pool, client: PoolClient, reason: Error): Promise<void> {
  await cancelStatement(client)
  client.connection?.stream.destroy()
  // The server gives up before the client does, so the connection is lost, and probably the idle ones with it.
  dropIdle(pool, reason)
}

async function within<T>(ms: number, work: Promise<T>, giveUp: (late: Error) => void): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      const late = new Error('timeout expired')
      giveUp(late)
      reject(late)
    }, ms)
  })
  try {
    return await Promise.race([work, timeout])
  } finally {
    clearTimeout(timer)
  }
}

export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown))
}
