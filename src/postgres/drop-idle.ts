import type pg from 'pg'

/** Closes the idle connections of a pool. Works for the pool of a host application too. */
export function dropIdle(pool: pg.Pool, reason: Error): void {
  if (pool.ending) return
  for (let left = pool.idleCount; left > 0; left -= 1) pool.connect((_error, _client, release) => release(reason))
}
