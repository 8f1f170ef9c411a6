import { refusals } from './errors.ts'

/** How deep JSON from outside may nest; deeper values overflow the stack of what later walks them. */
const MAX_DEPTH = 64
/** How many values JSON from outside may hold: each is an object here, a step of its schema, and a node of a `jsonb`. */
const MAX_VALUES = 10_000

/**
 * Refuses what cannot be stored as it came: NUL and lone surrogates, numbers beyond the range of a double, `__proto__`
 * keys, what nests too deep, and what holds too many values.
 * @param where what it is part of, for the message
 * @throws {BrokerError} 400
 */
export function requireStorable(root: unknown, where: string): void {
  const open: { value: unknown; depth: number }[] = [{ value: root, depth: 0 }]
  let values = 0
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    values += 1
    const { value, depth } = next
    if (typeof value === 'string') requireText(value, where)
    if (typeof value === 'number' && !Number.isFinite(value)) {
      throw refusals.malformed(`The ${where} has a number that is out of range.`)
    }
    if (typeof value !== 'object' || value === null) continue
    if (depth >= MAX_DEPTH) throw refusals.malformed(`The ${where} nests deeper than ${MAX_DEPTH} levels.`)
    const entries = Object.entries(value)
    if (values + open.length + entries.length > MAX_VALUES) {
      throw refusals.malformed(`The ${where} has more than ${MAX_VALUES} values.`)
    }
    for (const [key, inner] of entries) {
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
