import type { Pool, PoolClient } from 'pg'
import { BoundedClient, type BoundedPoolConfig } from '../../postgres/index.ts'
import { unlessAborted } from './session.ts'

/** Attempts to get a working connection. A lost one closes all idle ones, so that the next is new. */
const CHECK_OUTS = 3

/** Checks out a connection, and verifies it with a round trip. */
export async function checkOut(pool: Pool, signal?: AbortSignal): Promise<PoolClient> {
  for (let left = CHECK_OUTS; ; left -= 1) {
    const client = await take(pool, signal)
    try {
      if (client instanceof BoundedClient) await unlessAborted(client.ping(), signal)
      return client
    } catch (error) {
      client.release(true)
      if (signal?.aborted === true || left <= 1) throw error
    }
  }
}

async function take(pool: Pool, signal: AbortSignal | undefined): Promise<PoolClient> {
  signal?.throwIfAborted()
  const connecting = pool.connect()
  try {
    return await unlessAborted(connecting, signal)
  } catch (error) {
    // The pool may still hand out a connection
    connecting.then((client) => client.release(true)).catch(() => undefined)
    throw error
  }
}

/** Opens a connection outside of the pool. */
export async function connect(signal: AbortSignal, settings: BoundedPoolConfig): Promise<BoundedClient> {
  signal.throwIfAborted()
  const client = new BoundedClient(settings)
  client.inUse = true
  const connecting = client.connect()
  try {
    await unlessAborted(connecting, signal)
    return client
  } catch (error) {
    connecting.then(() => client.end()).catch(() => undefined)
    throw error
  }
}
