import { availabilityAttacks, namesOnly } from '../providers/postgresql/availability.ts'

/** Prepared transactions are switched off on the embedded server. */
export function attackNames(only: string): string[] {
  const names = Object.values(availabilityAttacks(namesOnly))
    .flat()
    .filter(({ name, prepared }) => prepared !== true && name.includes(only))
    .map(({ name }) => name)
  if (names.length === 0) throw new TypeError(`--only is ${JSON.stringify(only)}: no attack has that in its name.`)
  return names
}
