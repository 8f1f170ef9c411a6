import type { Random } from '../chaos/random.ts'
import { availabilityAttacks, namesOnly } from '../providers/postgresql/availability.ts'

/** Names of attacks in the order of the run: of each group in turn, so that a short run has some of each. */
export function attackNames(only: string, random: Random): string[] {
  const groups = Object.values(availabilityAttacks(namesOnly)).map((attacks) =>
    random.shuffle(attacks.map(({ name }) => name).filter((name) => name.includes(only)))
  )
  const longest = Math.max(...groups.map(({ length }) => length))
  const names = Array.from({ length: longest }, (_, turn) => groups.flatMap((group) => group[turn] ?? [])).flat()
  if (names.length === 0) throw new TypeError(`--only is ${JSON.stringify(only)}: no attack has that in its name.`)
  return names
}
