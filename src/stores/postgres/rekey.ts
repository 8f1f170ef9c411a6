import { setTimeout as sleep } from 'node:timers/promises'
import {
  purposeOf,
  rowColumns,
  type SealedColumn,
  type SealedPlace,
  type SealedRow,
  sealedColumns
} from './sealed-texts.ts'
import { SealBroken, startOfBound } from './sealing.ts'
import { inTransaction, read } from './transactions.ts'

/** What {@link rekey} has done, or could not do. */
export type RekeyEvent =
  | { readonly kind: 'rekeyed'; readonly column: SealedColumn['name']; readonly count: number }
  | { readonly kind: 'unopenable'; readonly reason: string }

/** Texts that one statement reads, and one transaction writes. */
const PAGE = 200
/** A row that somebody else holds is tried again for about a second; then it is left to the next call. */
const WAIT_MS = 50
const MAX_ROUNDS = 20

/**
 * Seals again, with the first key and for the platform of its row, each text that is under another key or was sealed by an
 * earlier version, which did not bind it to a platform. It goes over all texts once, while brokers serve and while other calls
 * of it run. A text is written only if it is still the one that was read, so that nothing newer is lost; a text that has
 * changed meanwhile is read again. Each page is committed, so that the next call continues where this one ended.
 */
export async function* rekey(place: SealedPlace): AsyncGenerator<RekeyEvent> {
  for (const column of sealedColumns(place.tables)) {
    let after: Partial<SealedKey> = { instance_id: '', binding_id: '' }
    while (true) {
      const { rows, last } = await readPage(place, column, after)
      yield* rekeyRows(place, column, rows)
      if (last === undefined) break
      after = last
    }
  }
}

type SealedKey = Omit<SealedRow, 'sealed'>

/** The next rows by their key. Only those to be sealed again have their text. */
async function readPage(
  { pool, sealer }: SealedPlace,
  column: SealedColumn,
  after: Partial<SealedKey>
): Promise<{ rows: SealedRow[]; last: SealedKey | undefined }> {
  const key = column.key.join(', ')
  const rows = await read<SealedKey & { sealed: string | null }>(
    pool,
    `WITH page AS (
      SELECT ${rowColumns(column)}, ${column.column} AS sealed FROM ${column.table}
      WHERE (${key}) > (${column.key.map((_, index) => `$${index + 2}`).join(', ')}) ORDER BY ${key} LIMIT ${PAGE}
    ) SELECT ${rowColumns(column)}, CASE WHEN NOT starts_with(sealed, $1) THEN sealed END AS sealed
    FROM page ORDER BY ${key}`,
    [startOfBound(sealer.kids[0] ?? ''), ...column.key.map((name) => after[name])]
  )
  return { rows: rows.flatMap(({ sealed, ...of }) => (sealed === null ? [] : [{ ...of, sealed }])), last: rows.at(-1) }
}

async function* rekeyRows(place: SealedPlace, column: SealedColumn, rows: SealedRow[]): AsyncGenerator<RekeyEvent> {
  for (let round = 0, left = rows; left.length > 0 && round < MAX_ROUNDS; round += 1) {
    if (round > 0) await sleep(WAIT_MS)
    const renewed: Renewed[] = []
    for (const row of left) {
      const text = await renew(place, column, row)
      if (typeof text === 'string') renewed.push({ ...row, renewed: text })
      else yield { kind: 'unopenable', reason: text.message }
    }
    const count = await replace(place, column, renewed)
    if (count > 0) yield { kind: 'rekeyed', column: column.name, count }
    left = count === renewed.length ? [] : await readAgain(place, column, renewed)
  }
}

interface Renewed extends SealedRow {
  readonly renewed: string
}

async function renew({ sealer }: SealedPlace, column: SealedColumn, row: SealedRow): Promise<string | SealBroken> {
  const purpose = purposeOf(column, row)
  try {
    return await sealer.seal(await sealer.open(row.sealed, purpose), purpose)
  } catch (error) {
    if (error instanceof SealBroken) return error
    throw error
  }
}

/** Never waits for a row that somebody else holds: so it cannot be a part of a deadlock. */
async function replace({ pool }: SealedPlace, column: SealedColumn, rows: readonly Renewed[]): Promise<number> {
  if (rows.length === 0) return 0
  const { table, key } = column
  const given = key.map((_, index) => `$${index + 3}::text[]`)
  const match = (one: string, other: string) => key.map((name) => `${one}.${name} = ${other}.${name}`).join(' AND ')
  const written = await inTransaction(pool, (sql) =>
    sql.query(
      `WITH mine AS (
        SELECT given.* FROM ${table} AS theirs
        JOIN unnest($1::text[], $2::text[], ${given.join(', ')}) AS given (sealed, renewed, ${key.join(', ')})
          ON ${match('theirs', 'given')}
        WHERE theirs.${column.column} = given.sealed FOR NO KEY UPDATE OF theirs SKIP LOCKED
      )
      UPDATE ${table} AS theirs SET ${column.column} = mine.renewed FROM mine
      WHERE ${match('theirs', 'mine')} AND theirs.${column.column} = mine.sealed RETURNING theirs.instance_id`,
      [
        rows.map(({ sealed }) => sealed),
        rows.map(({ renewed }) => renewed),
        ...key.map((name) => rows.map((row) => row[name]))
      ]
    )
  )
  return written.length
}

/** Those of the rows whose text is still, or again, to be sealed again. */
async function readAgain(
  { pool, sealer }: SealedPlace,
  column: SealedColumn,
  rows: readonly SealedRow[]
): Promise<SealedRow[]> {
  const { table, key } = column
  const given = key.map((_, index) => `$${index + 2}::text[]`)
  return read<SealedRow>(
    pool,
    `SELECT ${rowColumns(column)}, ${column.column} AS sealed FROM ${table}
    WHERE (${key.join(', ')}) IN (SELECT * FROM unnest(${given.join(', ')}))
      AND NOT starts_with(${column.column}, $1)`,
    [startOfBound(sealer.kids[0] ?? ''), ...key.map((name) => rows.map((row) => row[name]))]
  )
}
