import type { Connection, Pool, PoolClient } from 'pg'
import { BoundedClient, type BoundedPoolConfig } from '../../postgres/index.ts'
import { unlessAborted } from './session.ts'
import type { Query } from './statement.ts'

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

/** Enough for a login and one short answer. */
const MAX_ANSWER_BYTES = 256 * 1024

/**
 * Ends the connection of a tenant's login that receives too much, because the server sends settings such as `search_path` at a
 * login, and a tenant can make its own many megabytes long.
 */
export function limitAnswers(connection: Connection): void {
  let watched = false
  const watch = () => {
    if (watched) return
    watched = true
    let received = 0
    connection.stream.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received > MAX_ANSWER_BYTES) connection.stream.destroy(new Error('The server sent too much at a login.'))
    })
  }
  // After the negotiation of TLS, which replaces the stream
  connection.once('authenticationSASL', watch)
  connection.once('authenticationOk', watch)
}

/** Takes the task's name and locks off a connection, so that nobody ends it for that task, or waits for it, later. */
export async function renamed(query: Query, name: string): Promise<boolean> {
  try {
    await query(`SELECT set_config('application_name', $1, false), pg_advisory_unlock_all()`, [name])
    return true
  } catch {
    return false
  }
}
