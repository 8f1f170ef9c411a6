import { readEnvironment } from '../config.ts'
import { countKids, type KidCount, migrate, rekey, type SealedPlace, tablesOf } from '../stores/postgres/index.ts'
import type { Arguments, Command } from './command.ts'
import { openState } from './state.ts'
import { explained } from './state-database.ts'

/** `osb rekey`: brings everything that is encrypted under the first key. Reads the environment of `osb serve`. */
export const rekeyCommand: Command = {
  summary: 'encrypt what is stored anew with the first of BROKER_ENCRYPTION_KEYS',
  synopsis: '[--check]',
  help: [
    'Replicas may serve meanwhile. It can be stopped at any time and started again, also twice at once. Put the new key',
    'first on every replica before, and keep the old one behind it until this ends with 0.',
    '',
    'Prints, one on a line: the column, the kid, and how many texts of the column are under its key. Ends with 1 when some',
    'are under another key than the first. What cannot be opened is told, and left as it is.',
    '',
    '  --check  change nothing'
  ].join('\n'),
  options: { check: { type: 'boolean' } },
  run: runRekey
}

/** One round finds what was there when it came by; further ones what replicas have written behind it. */
const MAX_ROUNDS = 3
const PROGRESS_MS = 1_000

async function runRekey({ values }: Arguments): Promise<void> {
  const { pool, sealer, close } = await openState(readEnvironment(process.env), 'osb rekey')
  try {
    const place = { pool, sealer, tables: tablesOf() }
    await explained(async () => {
      await migrate(pool)
      report(await (values.check === true ? countKids(place) : rekeyAll(place)), sealer.kids)
    })
  } finally {
    await close()
  }
}

async function rekeyAll(place: SealedPlace): Promise<KidCount[]> {
  const unopenable = new Set<string>()
  let rekeyed = 0
  let toldAt = Date.now()
  for (let round = 1; ; round += 1) {
    for await (const event of rekey(place)) {
      if (event.kind === 'unopenable') {
        if (!unopenable.has(event.reason)) tell(event.reason)
        unopenable.add(event.reason)
        continue
      }
      rekeyed += event.count
      if (Date.now() - toldAt < PROGRESS_MS) continue
      toldAt = Date.now()
      tell(`rekeyed ${rekeyed} so far, now in ${event.column}`)
    }
    const counts = await countKids(place)
    if (round < MAX_ROUNDS && others(counts, place.sealer.kids) > unopenable.size) continue
    tell(`rekeyed ${rekeyed}${unopenable.size === 0 ? '' : `, and ${unopenable.size} cannot be opened`}`)
    return counts
  }
}

function report(counts: readonly KidCount[], [first = '', ...behind]: readonly string[]): void {
  for (const { column, kid, count } of counts) process.stdout.write(`${column}\t${kid === '' ? '-' : kid}\t${count}\n`)
  const left = others(counts, [first])
  if (left > 0) {
    tell(`${left} not under the first key, "${first}": the keys they are under are still needed`)
    process.exitCode = 1
    return
  }
  const unneeded = behind.map((kid) => `"${kid}"`).join(', ')
  tell(`all under the first key, "${first}"${unneeded === '' ? '' : `; no longer needed: ${unneeded}`}`)
}

function others(counts: readonly KidCount[], [first]: readonly string[]): number {
  return counts.reduce((sum, { kid, count }) => (kid === first ? sum : sum + count), 0)
}

/** Not on standard output, which is for the counts. */
function tell(line: string): void {
  process.stderr.write(`${line}\n`)
}
