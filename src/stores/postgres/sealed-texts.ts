import type { Pool } from 'pg'
import { EncryptionKeysError } from './encryption-keys.ts'
import type { Tables } from './schema.ts'
import { type Purpose, type Sealer, startOfBound } from './sealing.ts'
import { read, readOnly } from './transactions.ts'

/** Where sealed texts are, and what opens them. */
export interface SealedPlace {
  readonly pool: Pool
  readonly tables: Tables
  readonly sealer: Sealer
}

/** A column of sealed texts. */
export interface SealedColumn {
  readonly name: Purpose['column']
  readonly table: string
  readonly column: string
  /** Columns of the primary key, in its order. */
  readonly key: readonly ('instance_id' | 'binding_id')[]
}

/** All columns of sealed texts. */
export function sealedColumns({ instances, bindings }: Tables): readonly SealedColumn[] {
  const ofBinding = { table: bindings, key: ['instance_id', 'binding_id'] } as const
  return [
    { name: 'instance.state', table: instances, column: 'state', key: ['instance_id'] },
    { name: 'binding.state', column: 'state', ...ofBinding },
    { name: 'binding.reply', column: 'reply', ...ofBinding },
    { name: 'binding.undelivered', column: 'undelivered', ...ofBinding }
  ]
}

/** The kid of a sealed text as an expression of SQL: to the letter what the indexes have. */
export function kidOf({ sealedKid }: Tables, { column }: SealedColumn): string {
  return `(${sealedKid}(${column}) COLLATE "C")`
}

/** How many texts of a column are under a key; `''` for what is no sealed text. */
export interface KidCount {
  readonly column: Purpose['column']
  readonly kid: string
  readonly count: number
  /** These are texts of an earlier version, which open for any platform. Absent on `''`, whose texts do not open at all. */
  readonly unbound?: true
}

/** Counts what is under which key; for operators, as a count of many rows takes a while. */
export async function countKids({ pool, tables }: SealedPlace): Promise<KidCount[]> {
  const counts: KidCount[] = []
  for (const column of sealedColumns(tables)) {
    for (const kid of await kidsIn({ pool, tables }, column)) {
      const rows = await readOnly<{ bound: boolean; count: number }>(
        pool,
        `SELECT starts_with(${column.column}, $2) AS bound, count(*)::int AS count FROM ${column.table}
        WHERE ${column.column} IS NOT NULL AND ${kidOf(tables, column)} = $1 GROUP BY bound ORDER BY bound DESC`,
        [kid, startOfBound(kid)]
      )
      for (const { bound, count } of rows) {
        counts.push({ column: column.name, kid, count, ...(bound || kid === '' ? {} : { unbound: true }) })
      }
    }
  }
  return counts
}

/** Texts tried for each key and column, so that a text that somebody changed does not pass for a wrong key. */
const SAMPLE = 5

/**
 * The kids in use that have no key; a few look-ups in indexes, however many rows there are.
 * @throws {EncryptionKeysError} when a key is another one than that of the same kid before
 */
export async function missingKids(place: SealedPlace): Promise<string[]> {
  const missing = new Set<string>()
  const tried = new Map<string, boolean>()
  for (const column of sealedColumns(place.tables)) {
    for (const kid of await kidsIn(place, column)) {
      if (kid === '') continue
      if (!place.sealer.kids.includes(kid)) missing.add(kid)
      else if (tried.get(kid) !== true) tried.set(kid, await opensSome(place, column, kid))
    }
  }
  for (const [kid, opens] of tried) if (!opens) throw anotherKey(kid)
  return [...missing].sort()
}

/** Jumps from kid to kid in the index. */
async function kidsIn({ pool, tables }: Pick<SealedPlace, 'pool' | 'tables'>, column: SealedColumn): Promise<string[]> {
  const kid = kidOf(tables, column)
  const next = (condition: string) =>
    `SELECT ${kid} FROM ${column.table} WHERE ${column.column} IS NOT NULL ${condition} ORDER BY ${kid} LIMIT 1`
  const rows = await read<{ kid: string }>(
    pool,
    `WITH RECURSIVE kids (kid) AS (
      (${next('')}) UNION ALL SELECT (${next(`AND ${kid} > kids.kid`)}) FROM kids WHERE kids.kid IS NOT NULL
    ) SELECT kid FROM kids WHERE kid IS NOT NULL`
  )
  return rows.map((row) => row.kid)
}

async function opensSome({ pool, tables, sealer }: SealedPlace, column: SealedColumn, kid: string): Promise<boolean> {
  const rows = await read<SealedRow>(
    pool,
    `SELECT ${rowColumns(column)}, ${column.column} AS sealed FROM ${column.table}
    WHERE ${column.column} IS NOT NULL AND ${kidOf(tables, column)} = $1 LIMIT ${SAMPLE}`,
    [kid]
  )
  // A text that was moved has the right key all the same.
  for (const row of rows) if (await sealer.decrypts(row.sealed, purposeOf(column, row))) return true
  // Another session has replaced or removed them since the kid was read.
  return rows.length === 0
}

/** The columns of {@link SealedRow} but for the text itself. */
export function rowColumns({ key }: SealedColumn): string {
  return ['platform', ...key].join(', ')
}

/** A sealed text and whose it is; `binding_id` in columns of bindings. */
export interface SealedRow {
  readonly platform: string
  readonly instance_id: string
  readonly binding_id?: string
  readonly sealed: string
}

/** What the text in a row is for. */
export function purposeOf({ name }: SealedColumn, row: Omit<SealedRow, 'sealed'>): Purpose {
  const { platform, instance_id: instanceId, binding_id: bindingId } = row
  return { column: name, platform, instanceId, ...(bindingId === undefined ? {} : { bindingId }) }
}

function anotherKey(kid: string): EncryptionKeysError {
  return new EncryptionKeysError(
    `The key "${kid}" of BROKER_ENCRYPTION_KEYS does not open what is stored under this kid: it is another key than ` +
      'before. Put the former one back, and give a new key a kid of its own.'
  )
}
