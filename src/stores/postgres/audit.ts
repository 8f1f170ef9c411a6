import type { AuditTrail } from '../../core/store.ts'
import type { StoreContext } from './context.ts'
import type { Tables } from './schema.ts'
import { inTransaction } from './transactions.ts'

/** Columns of an operation that end up in its audit events. */
export const auditedColumns = `platform, originating_identity, request_identity, kind, state, instance_id, binding_id,
  operation_id, internal, target, description`

/** Deleting a month's events at once would not end within the timeout of a statement. */
const FORGET_BATCH = 2_000

/**
 * `INSERT` of the audit event of each operation in `from`; the operation's own words, which hold no secret. The plan is
 * the one asked for.
 * @param instances where their instances are found, when the same statement makes them
 */
export function auditOf(tables: Tables, from: string, phase: string, instances = tables.instances): string {
  return `INSERT INTO ${tables.auditEvents} (platform, originating_identity, request_identity, action, phase, internal,
      instance_id, binding_id, operation_id, service_id, plan_id, description)
    SELECT o.platform, o.originating_identity, o.request_identity, o.kind, ${phase}, o.internal,
      o.instance_id, o.binding_id, o.operation_id, i.service_id, coalesce(o.target ->> 'planId', i.plan_id),
      o.description
    FROM ${from} AS o LEFT JOIN ${instances} AS i USING (instance_id)`
}

/** {@link Store.audit}. */
export function auditTrail({ pool, tables }: StoreContext): AuditTrail {
  const note = async (action: 'repair' | 'guard', instanceId: string, description: string) => {
    await inTransaction(pool, (sql) =>
      sql.query(
        `INSERT INTO ${tables.auditEvents} (platform, action, phase, internal, instance_id, service_id, plan_id,
          description)
        SELECT platform, $3, 'succeeded', true, instance_id, service_id, plan_id, $2
        FROM ${tables.instances} WHERE instance_id = $1`,
        [instanceId, description, action]
      )
    )
  }
  return {
    noteRepair: (instanceId, description) => note('repair', instanceId, description),
    noteGuard: (instanceId, description) => note('guard', instanceId, description),
    async forget(daysToKeep) {
      let forgotten = 0
      while (true) {
        const [row] = await inTransaction(pool, (sql) =>
          sql.query<{ deleted: string }>(`SELECT ${tables.forgetAuditEvents}($1, $2) AS deleted`, [
            daysToKeep,
            FORGET_BATCH
          ])
        )
        const deleted = Number(row?.deleted ?? 0)
        forgotten += deleted
        if (deleted === 0) return forgotten
      }
    }
  }
}

/** Makes the partitions of this month and the next ones, where they are missing. */
export async function makeAuditPartitions({ pool, tables }: StoreContext): Promise<void> {
  await inTransaction(pool, (sql) => sql.query(`SELECT ${tables.makeAuditPartitions}()`))
}
