import type { WatchRound } from '../../../core/provider.ts'
import { UPKEEP_NAME } from '../blockers.ts'
import { codeOf } from '../faults.ts'
import type { InstanceNames } from '../names.ts'
import type { AdminServer } from '../server.ts'
import type { Session } from '../session.ts'
import { inDatabase } from '../tenant.ts'

/** A locked instance whose deleted rows may take up space. */
export interface Reclaimable {
  readonly instanceId: string
  readonly server: AdminServer
  readonly names: InstanceNames
}

/** Time for all instances of a round, in milliseconds: the next round, which locks other instances, waits for it. */
const ROUND_MS = 30_000
/** Below this remaining time, no further table is rewritten, in milliseconds. */
const LEAST_MS = 1_000
/** The share of its rows that must have been deleted from a table. */
const DELETED_SHARE = 0.1
/** Below this share, a rewrite was in vain, because an open transaction still sees the rows. */
const FREED_SHARE = 0.05
/** How much a rewrite may write, in bytes: it needs so much space in addition. */
const REWRITE_BYTES = 2 * 1024 ** 3
/**
 * Pause after a rewrite in vain, in milliseconds; it doubles. So the first rounds try again, because most transactions are
 * short, and later ones seldom do.
 */
const PAUSE_MS = 2_000
const LONGEST_PAUSE_MS = 24 * 3_600_000
/** Waiting for a table blocks those who read it. */
const LOCK_TIMEOUT = `SET lock_timeout = '1s'`
/** Lock timeout, and table dropped meanwhile: the next round tries again. */
const PASSING = new Set(['55P03', '42P01'])
const STATEMENT_TIMEOUT = '57014'

/** What was found of a table when it was rewritten last. */
interface Rewritten {
  readonly deleted: number
  readonly pauseMs: number
  readonly againAt: number
}

interface TableRow extends Record<string, unknown> {
  oid: string
  name: string
  deleted: string
  live: string
  pages: string
}

/**
 * Gives the space of deleted rows in locked databases back to the file system, by `VACUUM FULL`. A tenant cannot do so itself
 * on PostgreSQL 15 and 16, where it takes the ownership of the table, which a locked binding does not have.
 *
 * It takes no lock on the instance, because an unbind must not wait for it. PostgreSQL runs the functions of an index as the
 * owner of the table, with no further rights. Tables whose indexes call functions of the tenant are left out nevertheless,
 * because such a function may take any time.
 */
export class Reclaim {
  /** By database, then by the table's oid. */
  readonly #rewritten = new Map<string, Map<string, Rewritten>>()

  /** @returns the instances that have less now */
  async run<Instance extends Reclaimable>(round: WatchRound, locked: readonly Instance[]): Promise<Instance[]> {
    const databases = new Set(locked.map(({ names }) => names.database))
    for (const database of this.#rewritten.keys()) if (!databases.has(database)) this.#rewritten.delete(database)
    const until = performance.now() + ROUND_MS
    const smaller: Instance[] = []
    for (const instance of this.#inTurn(locked)) {
      if (until - performance.now() < LEAST_MS) break
      try {
        if (await this.#rewrite(round, instance, until)) smaller.push(instance)
      } catch (error) {
        round.signal.throwIfAborted()
        const { instanceId: id } = instance
        round.log.warn({ err: error, instance: id }, 'the space of deleted rows could not be given back')
      }
    }
    return smaller
  }

  /** Those that were not looked at for the longest time first: the time may not be enough for all. */
  #inTurn<Instance extends Reclaimable>(locked: readonly Instance[]): Instance[] {
    const order = new Map([...this.#rewritten.keys()].map((database, place) => [database, place]))
    const turn = ({ names }: Instance) => order.get(names.database) ?? -1
    return locked.toSorted((one, other) => turn(one) - turn(other))
  }

  async #rewrite(round: WatchRound, { instanceId, server, names }: Reclaimable, until: number): Promise<boolean> {
    const { log, signal } = round
    const known = this.#rewritten.get(names.database) ?? new Map<string, Rewritten>()
    // Last in the order of the next round
    this.#rewritten.delete(names.database)
    this.#rewritten.set(names.database, known)
    const maintenance = await server.openMaintenance({ applicationName: UPKEEP_NAME, signal, log, spares: names.token })
    try {
      const run = async (tenant: Session) => {
        await tenant.query(LOCK_TIMEOUT)
        let freed = 0
        for (const table of await tablesIn(tenant, names)) {
          const left = until - performance.now()
          if (!isWorthIt(table, known.get(table.oid))) continue
          if (left < LEAST_MS || (await round.refresh(instanceId)) === undefined) break
          await tenant.query(`SET statement_timeout = ${Math.floor(left)}`)
          freed += await rewriteTable(tenant, table, known)
        }
        if (freed > 0) log.info({ instance: instanceId, bytes: freed }, 'the space of deleted rows was given back')
        return freed > 0
      }
      return await inDatabase(server, maintenance, { database: names.database, run })
    } finally {
      await maintenance.close()
    }
  }
}

/** Tables of the owner, and the large objects, from which rows were deleted; the largest first. */
async function tablesIn(tenant: Session, { owner }: InstanceNames): Promise<TableRow[]> {
  return tenant.query<TableRow>(
    `SELECT c.oid::text, format('%I.%I', s.schemaname, s.relname) AS name, s.n_tup_del::text AS deleted,
            s.n_live_tup::text AS live, (c.relpages + coalesce(t.relpages, 0))::text AS pages
     FROM pg_stat_all_tables AS s JOIN pg_class AS c ON c.oid = s.relid LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND s.n_tup_del > 0
       AND (c.relowner = (SELECT oid FROM pg_roles WHERE rolname = $1) OR c.oid = 'pg_largeobject'::regclass)
       AND NOT EXISTS (
         SELECT FROM pg_index AS i WHERE i.indrelid = c.oid
           AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
                OR EXISTS (SELECT FROM pg_attribute AS a JOIN pg_type AS y ON y.oid = a.atttypid
                           WHERE a.attrelid = i.indexrelid AND y.oid >= 16384 AND y.typtype IN ('r', 'm'))))
     ORDER BY c.relpages + coalesce(t.relpages, 0) DESC LIMIT 1000`,
    [owner]
  )
}

const PAGE_BYTES = 8192

function isWorthIt(table: TableRow, last: Rewritten | undefined): boolean {
  const [all, live] = [Number(table.deleted), Number(table.live)]
  // The counter starts anew after a crash of the server
  const deleted = last === undefined || all < last.deleted ? all : all - last.deleted
  const rows = live + deleted
  if ((live / Math.max(rows, 1)) * Number(table.pages) * PAGE_BYTES > REWRITE_BYTES) return false
  return deleted >= Math.max(1, rows * DELETED_SHARE) || (last !== undefined && performance.now() >= last.againAt)
}

/** @returns how many bytes the table has less */
async function rewriteTable(tenant: Session, table: TableRow, known: Map<string, Rewritten>): Promise<number> {
  const size = async () => {
    const [row] = await tenant.query<{ bytes: string }>('SELECT pg_total_relation_size($1::oid)::text AS bytes', [
      table.oid
    ])
    return Number(row?.bytes)
  }
  let [before, after] = [0, 0]
  try {
    before = await size()
    await tenant.query(`VACUUM (FULL) ${table.name}`)
    after = await size()
  } catch (error) {
    const code = codeOf(error) ?? ''
    if (PASSING.has(code)) return 0
    if (code !== STATEMENT_TIMEOUT) throw error
    after = before
  }
  const freed = before - after
  const pauseMs = Math.min((known.get(table.oid)?.pauseMs ?? PAUSE_MS / 2) * 2, LONGEST_PAUSE_MS)
  const inVain = freed < before * FREED_SHARE
  known.set(table.oid, {
    deleted: Number(table.deleted),
    pauseMs: inVain ? pauseMs : PAUSE_MS / 2,
    againAt: inVain ? performance.now() + pauseMs : Number.POSITIVE_INFINITY
  })
  return freed
}
