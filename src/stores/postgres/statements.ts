import type { Columns } from './rows.ts'

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

/**
 * `UPDATE` of the row with this key; `updated_at` is the time of the server unless it is given.
 * @param fromNow columns that become a time so many milliseconds from now, on the clock of the server
 */
export function updateRow(
  table: string,
  key: Columns,
  columns: Columns,
  fromNow: Readonly<Record<string, number>> = {}
): Statement {
  const values: unknown[] = []
  const equal = ([name, value]: [string, unknown]) => `${name} = $${values.push(value)}`
  const changes = Object.entries(columns).map(equal)
  if (!('updated_at' in columns)) changes.push('updated_at = clock_timestamp()')
  for (const [name, ms] of Object.entries(fromNow)) {
    changes.push(`${name} = clock_timestamp() + $${values.push(ms)} * interval '1 millisecond'`)
  }
  const where = Object.entries(key).map(equal)
  return { text: `UPDATE ${table} SET ${changes.join(', ')} WHERE ${where.join(' AND ')}`, values }
}
