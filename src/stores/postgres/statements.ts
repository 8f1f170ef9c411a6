import type { Columns } from './rows.ts'
import type { Tables } from './schema.ts'

export interface Statement {
  readonly text: string
  readonly values: unknown[]
}

/** `INSERT` of one row. Column names come from this folder, never from outside. */
export function insertInto(table: string, columns: Columns): Statement {
  const names = Object.keys(columns)
  const places = names.map((_, index) => `$${index + 1}`)
  return {
    text: `INSERT INTO ${table} (${names.join(', ')}) VALUES (${places.join(', ')})`,
    values: Object.values(columns)
  }
}

/** `UPDATE` of the row with this key; `updated_at` is the time of the server unless it is given. */
export function updateRow(table: string, key: Columns, columns: Columns): Statement {
  const values: unknown[] = []
  const equal = ([name, value]: [string, unknown]) => `${name} = $${values.push(value)}`
  const changes = Object.entries(columns).map(equal)
  if (!('updated_at' in columns)) changes.push('updated_at = clock_timestamp()')
  const where = Object.entries(key).map(equal)
  return { text: `UPDATE ${table} SET ${changes.join(', ')} WHERE ${where.join(' AND ')}`, values }
}

/** `INSERT` of the audit event of each operation in `from`; the operation's own words, which hold no secret. */
export function auditOf(tables: Tables, from: string, phase: string): string {
  return `INSERT INTO ${tables.auditEvents} (platform, originating_identity, request_identity, action, phase,
      instance_id, binding_id, operation_id, description)
    SELECT platform, originating_identity, request_identity, kind, ${phase},
      instance_id, binding_id, operation_id, description FROM ${from}`
}
