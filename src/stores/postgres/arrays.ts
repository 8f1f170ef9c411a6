import type { Columns } from './rows.ts'

/** Types of the columns that are not text. */
const TYPES: Readonly<Record<string, string>> = {
  context: 'jsonb',
  parameters: 'jsonb',
  metadata: 'jsonb',
  target: 'jsonb',
  originating_identity: 'jsonb',
  async: 'boolean',
  internal: 'boolean',
  created_at: 'timestamptz',
  updated_at: 'timestamptz'
}

/** Rows as one array for each column, which is what `unnest` makes rows of again: one statement for any number of them. */
export interface ColumnArrays {
  /** `instance_id, platform, …` */
  readonly names: string
  /** `$1::text[], $2::text[], …` */
  readonly places: string
  readonly values: readonly unknown[][]
}

/** @param from number of the first parameter */
export function columnArrays(rows: readonly Columns[], from: number): ColumnArrays {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))]
  return {
    names: names.join(', '),
    places: names.map((name, index) => `$${from + index}::${TYPES[name] ?? 'text'}[]`).join(', '),
    values: names.map((name) => rows.map((row) => row[name] ?? null))
  }
}
