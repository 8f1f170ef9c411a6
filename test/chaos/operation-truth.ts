import type { Client } from 'pg'
import { GRACE_MS } from '../../src/core/watchdog.ts'
import type { Comparison, Seen } from './comparison.ts'
import { overlapsOf } from './overlaps.ts'
import type { Replica } from './replicas.ts'

/** How long after its deadline an operation may end: a call that ignores its signal has a grace, and a machine is late. */
const OVERTIME_MS = GRACE_MS + 3_000
/** The same when a fault strikes meanwhile: the lease of a dead worker has to end, and the server has to come back. */
const DISTURBED_MS = 30_000

/** A row of the table of operations; times are milliseconds of the server's clock. */
export interface OperationRow {
  readonly id: string
  readonly kind: string
  readonly state: string
  readonly attempt: number
  readonly internal: boolean
  readonly created: number
  readonly deadline: number
  readonly finished: number | null
  readonly description: string | null
}

export async function readOperations(state: Client): Promise<OperationRow[]> {
  const ms = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`
  const { rows } = await state.query<OperationRow>(
    `SELECT operation_id AS id, kind, state, attempt, internal, description, ${ms('created_at')} AS created,
      ${ms('deadline')} AS deadline, ${ms('finished_at')} AS finished
    FROM osb.operations`
  )
  return rows
}

/** Compares the operations that clients were told of with those of the store, and checks their times and attempts. */
export function compareOperations(rows: readonly OperationRow[], replicas: readonly Replica[], seen: Seen): Comparison {
  const differences: string[] = []
  const stored = new Map(rows.map((row) => [row.id, row]))
  for (const { operation, state } of seen.platform.told.values()) {
    const row = stored.get(operation)
    if (row === undefined) differences.push(`operation ${operation} was answered and is not stored`)
    else if (state !== 'in progress' && row.state !== state)
      differences.push(`operation ${operation} was told ${state}, and is stored ${row.state}`)
  }
  for (const row of rows) {
    const overtime = overtimeOf(row)
    if (overtime > DISTURBED_MS || (overtime > OVERTIME_MS && !isDisturbed(row, replicas, seen)))
      differences.push(`${row.kind} ${row.id} ended ${Math.round(overtime)} ms after its deadline`)
    if (row.attempt > mostAttempts(row)) differences.push(`${row.kind} ${row.id} had ${row.attempt} attempts`)
  }
  const overlaps = overlapsOf(seen.calls, replicas)
  differences.push(...overlaps.violations)
  const count = (test: (row: OperationRow) => boolean) => rows.filter(test).length
  return {
    differences,
    counts: {
      'operations succeeded': count(({ state }) => state === 'succeeded'),
      'operations failed': count(({ state }) => state === 'failed'),
      'operations unfinished': count(({ state }) => state === 'in progress'),
      'operations with several attempts': count(({ attempt }) => attempt > 1),
      'most attempts of one operation': Math.max(0, ...rows.map(({ attempt }) => attempt)),
      'longest time past a deadline, in ms': Math.round(Math.max(0, ...rows.map(overtimeOf))),
      'calls of one operation at once, longest in ms': overlaps.longestMs
    }
  }
}

function isDisturbed({ deadline, finished }: OperationRow, replicas: readonly Replica[], { timeline }: Seen): boolean {
  return replicas.some((replica) => timeline.isDisturbed(replica, deadline, finished ?? Date.now()))
}

function overtimeOf({ deadline, finished }: OperationRow): number {
  return finished === null ? 0 : finished - deadline
}

/** Backoff doubles from one second; a kill or a hand-over costs one attempt more, and none comes more often than this. */
function mostAttempts({ created, finished }: OperationRow): number {
  return 10 + Math.max(0, (finished ?? Date.now()) - created) / 3_000
}
