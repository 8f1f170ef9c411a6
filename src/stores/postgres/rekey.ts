import { setTimeout as sleep } from 'node:timers/promises'
import { kidOf, purposeOf, type SealedColumn, type SealedPlace, type SealedRow, sealedColumns } from './sealed-texts.ts'
import { SealBroken } from './sealing.ts'
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
 * Seals anew, with the first key, what is under another: once over all texts, beside brokers that serve and beside other
 * calls of itself. A text is written only where it is still the one that was read, so nothing newer is lost; one that has
 * changed meanwhile is read again. What was done stays done, wherever it ends.
 */
export async function* rekey(place: SealedPlace): AsyncGenerator<RekeyEvent> {
  for (const column of sealedColumns(place.tables)) {
    let after: SealedKey = { instance_id: '', binding_id: '' }
    while (true) {
      const { rows, last } = await readPage(place, column, after)
      yield* rekeyRows(place, column, rows)
      if (last === undefined) break
      after = last
    }
  }
}

type SealedKey = Omit<SealedRow, 'sealed'>

/** The next rows by their key, of which only those under another key than the first have their text. */
async function readPage(
  { pool, tables, sealer }: SealedPlace,
  column: SealedColumn,
  after: SealedKey
): Promise<{ rows: SealedRow[]; last: SealedKey | undefined }> {
  const key = column.key.join(', ')
  const rows = await read<SealedKey & { sealed: string | null }>(
    pool,
    `WITH page AS (
      SELECT ${key}, ${column.column} AS sealed, ${kidOf(tables, column)} AS kid FROM ${column.table}
      WHERE (${key}) > (${column.key.map((_, index) => `$${index + 2}`).join(', ')}) ORDER BY ${key} LIMIT ${PAGE}
    ) SELECT ${key}, CASE WHEN kid <> $1 THEN sealed END AS sealed FROM page ORDER BY ${key}`,
    [sealer.kids[0], ...column.key.map((name) => after[name])]
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

/** Those of the rows whose text is still, or again, under another key. */
async function readAgain(
  { pool, tables, sealer }: SealedPlace,
  column: SealedColumn,
  rows: readonly SealedRow[]
): Promise<SealedRow[]> {
  const { table, key } = column
  const given = key.map((_, index) => `$${index + 2}::text[]`)
  return read<SealedRow>(
    pool,
    `SELECT ${key.join(', ')}, ${column.column} AS sealed FROM ${table}
    WHERE (${key.join(', ')}) IN (SELECT * FROM unnest(${given.join(', ')})) AND ${kidOf(tables, column)} <> $1`,
    [sealer.kids[0], ...key.map((name) => rows.map((row) => row[name]))]
  )
}
