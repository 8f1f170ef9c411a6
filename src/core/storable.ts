import { refusals } from './errors.ts'

/** How deep JSON from outside may nest; deeper values overflow the stack of what later walks them. */
const MAX_DEPTH = 64

/**
 * Refuses what cannot be stored as it came: NUL and lone surrogates, numbers beyond the range of a double, `__proto__`
 * keys, and what nests too deep.
 * @param where what it is part of, for the message
 * @throws {BrokerError} 400
 */
export function requireStorable(root: unknown, where: string): void {
  const open: { value: unknown; depth: number }[] = [{ value: root, depth: 0 }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, depth } = next
    if (typeof value === 'string') requireText(value, where)
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw refusals.malformed(`The ${where} has a number that is out of range.`)
    }
    if (typeof value !== 'object' || value === null) continue
    if (depth >= MAX_DEPTH) throw refusals.malformed(`The ${where} nests deeper than ${MAX_DEPTH} levels.`)
    for (const [key, inner] of Object.entries(value)) {
      if (key === '__proto__') throw refusals.malformed(`The ${where} has a field "__proto__".`)
      requireText(key, where)
      open.push({ value: inner, depth: depth + 1 })
    }
  }
}

function requireText(text: string, where: string): void {
  if (text.includes('\0') || !text.isWellFormed()) {
    throw refusals.malformed(`The ${where} has a NUL character or a lone surrogate.`)
  }
}
