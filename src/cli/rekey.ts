import { readEnvironment } from '../config.ts'
import { countKids, type KidCount, migrate, rekey, type SealedPlace, tablesOf } from '../stores/postgres/index.ts'
import type { Arguments, Command } from './command.ts'
import { openState } from './state.ts'
import { explained } from './state-database.ts'

/**
 * `osb rekey`: brings everything that is encrypted under the first key, and binds to its platform what an earlier version has
 * encrypted. Reads the environment of `osb serve`.
 */
export const rekeyCommand: Command = {
  summary: 'encrypt what is stored again, with the first of BROKER_ENCRYPTION_KEYS and for its platform',
  synopsis: '[--check]',
  help: [
    'Replicas may serve meanwhile. It can be stopped at any time and started again, also twice at once. Put the new key',
    'first on every replica before, and keep the old one behind it until this ends with 0.',
    '',
    'Prints, one on a line: the column, the kid, and how many texts of the column are under its key. A fourth field says',
    '"unbound" if an earlier version encrypted the texts, which then open for any platform. Ends with 1 if some texts are',
    'unbound or under another key than the first. Texts that cannot be opened are reported and left as they are.',
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
  const [first = ''] = place.sealer.kids
  const replaceable = (await countKids(place)).some(({ kid, unbound }) => kid === first && unbound)
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
    if (round < MAX_ROUNDS && left(counts, first).all > unopenable.size) continue
    tell(`rekeyed ${rekeyed}${unopenable.size === 0 ? '' : `, and ${unopenable.size} cannot be opened`}`)
    if (replaceable) {
      tell(
        `texts under the key "${first}" were unbound. Copies of them, for example in a backup, still open for any platform: ` +
          'put a new key first, run osb rekey again, and drop this key'
      )
    }
    return counts
  }
}

function report(counts: readonly KidCount[], [first = '', ...behind]: readonly string[]): void {
  for (const { column, kid, count, unbound } of counts) {
    process.stdout.write(`${column}\t${kid === '' ? '-' : kid}\t${count}${unbound ? '\tunbound' : ''}\n`)
  }
  const { otherKeys, unbound, all } = left(counts, first)
  if (otherKeys > 0) tell(`${otherKeys} not under the first key, "${first}": the keys they are under are still needed`)
  if (unbound > 0) tell(`${unbound} unbound: they open for any platform until osb rekey has encrypted them again`)
  if (all > 0) {
    process.exitCode = 1
    return
  }
  const unneeded = behind.map((kid) => `"${kid}"`).join(', ')
  tell(`all under the first key, "${first}"${unneeded === '' ? '' : `; no longer needed: ${unneeded}`}`)
}

/** How many texts are not as they should be; a text may be both unbound and under another key. */
function left(counts: readonly KidCount[], first: string): { otherKeys: number; unbound: number; all: number } {
  const sumOf = (wanted: (count: KidCount) => boolean) =>
    counts.filter(wanted).reduce((sum, { count }) => sum + count, 0)
  const isOther = ({ kid }: KidCount) => kid !== first
  const isUnbound = ({ unbound }: KidCount) => unbound === true
  return {
    otherKeys: sumOf(isOther),
    unbound: sumOf(isUnbound),
    all: sumOf((count) => isOther(count) || isUnbound(count))
  }
}

/** Not on standard output, which is for the counts. */
function tell(line: string): void {
  process.stderr.write(`${line}\n`)
}
