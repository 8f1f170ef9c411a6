import type { OperationStart } from '../../core/operation.ts'
import { columnArrays } from './arrays.ts'
import { auditedColumns } from './audit.ts'
import { operationColumns } from './rows.ts'
import type { Tables } from './schema.ts'
import type { Statement } from './statements.ts'

/** `INSERT` of new operations, for use in a `WITH`; it returns the audited columns. */
export interface OperationInsert extends Statement {
  /** Number of the parameter after the last one of this statement. */
  readonly next: number
}

/**
 * State, attempt, lease and all times come from the server, because the clocks of replicas differ.
 * @param from number of the first parameter
 * @param join limits which of the operations are inserted: `JOIN made USING (instance_id)`
 */
export function insertOperations(
  { operations: table }: Tables,
  operations: readonly OperationStart[],
  { from, leaseMs, join = '' }: { from: number; leaseMs: number; join?: string }
): OperationInsert {
  const columns = columnArrays(operations.map(operationColumns), from + 3)
  const lease = `$${from}::double precision * interval '1 millisecond'`
  return {
    text: `INSERT INTO ${table} (${columns.names}, state, attempt, created_at, deadline, started_at, lease_until)
      SELECT ${columns.names.replaceAll(/\w+/g, 'wanted.$&')}, 'in progress', claimed::int, statement_timestamp(),
        statement_timestamp() + maximum_ms * interval '1 millisecond',
        CASE WHEN claimed THEN statement_timestamp() END, CASE WHEN claimed THEN clock_timestamp() + ${lease} END
      FROM unnest($${from + 1}::double precision[], $${from + 2}::boolean[], ${columns.places})
        AS wanted (maximum_ms, claimed, ${columns.names}) ${join}
      RETURNING ${auditedColumns}`,
    values: [
      leaseMs,
      operations.map(({ maximumMs }) => maximumMs),
      operations.map(({ claimed }) => claimed),
      ...columns.values
    ],
    next: from + 3 + columns.values.length
  }
}
