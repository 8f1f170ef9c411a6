/**
 * A copy of a record, which is JSON and dates: what its reader does to it, or its writer afterwards, changes nothing here.
 * `structuredClone` takes some ten times as long for what a record is made of.
 */
export function copy<Value>(value: Value): Value {
  return copied(value) as Value
}

function copied(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(copied)
  if (value instanceof Date) return new Date(value)
  const own: Record<string, unknown> = { ...value }
  for (const key in own) {
    const field = own[key]
    if (typeof field === 'object' && field !== null) own[key] = copied(field)
  }
  return own
}
