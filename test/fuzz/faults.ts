import fc, { type Arbitrary } from 'fast-check'

/** One fault in a body: what is wrong, and at which of its places. */
export interface BodyFault {
  readonly kind: string
  readonly place: number
}

const MARK = '@mark@'
const long = 'x'.repeat(100_000)

/** Values as raw JSON, in the place of what was there. */
const replacements: Record<string, string> = {
  null: 'null',
  number: '5',
  boolean: 'true',
  text: '"text"',
  empty: '""',
  list: '[]',
  object: '{}',
  long: `"${long}"`,
  'over a megabyte': `"${long.repeat(11)}"`,
  unicode: '"\u{1f642}\u202e\ufeff\\u0007\\u0000e9\u00e9"',
  NUL: '"a\\u0000b"',
  'lone surrogate': '"\\ud800"',
  'swapped surrogates': '"\\udc00\\ud800"',
  infinite: '1e400',
  'a large integer': '123456789012345678901234567890',
  'minus zero': '-0',
  'the smallest number': '5e-324',
  '64 levels': `${'['.repeat(62)}${']'.repeat(62)}`,
  '5,000 levels': `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
  '20,000 values': `[${'0,'.repeat(20_000)}0]`,
  '5,000 keys': `{${Array.from({ length: 5_000 }, (_, index) => `"k${index}":0`).join()}}`
}

/** Further fields, as raw JSON. */
const additions: Record<string, string> = {
  'a field more': '"unknown":1',
  'a field twice': '"service_id":"x","service_id":"y"',
  __proto__: '"__proto__":{"polluted":true}',
  'constructor.prototype': '"constructor":{"prototype":{"polluted":true}}',
  toString: '"toString":null',
  'a NUL in a name': '"a\\u0000":1',
  'a surrogate in a name': '"\\udfff":1',
  'a long name': `"${long}":1`
}

/** What is done to the text as a whole. */
const manglings: Record<string, (text: string) => string> = {
  'no body': () => '',
  'cut off': (text) => text.slice(0, text.length / 2),
  'more behind it': (text) => `${text} x`,
  'a byte order mark': (text) => `\ufeff${text}`,
  'in a list': (text) => `[${text}]`,
  'in a string': (text) => JSON.stringify(text),
  'only null': () => 'null',
  'not JSON': () => "{'a': undefined}",
  'all brackets': () => '['.repeat(100_000),
  whitespace: () => ' \n\t'.repeat(1_000)
}

const kinds = ['missing', ...Object.keys(replacements), ...Object.keys(additions), ...Object.keys(manglings)]

export const bodyFaults: Arbitrary<BodyFault> = fc.record({
  kind: fc.constantFrom(...kinds),
  place: fc.nat({ max: 30 })
})

/** The body as text, with the fault in it. */
export function textOf(body: unknown, fault: BodyFault | undefined): string {
  if (fault === undefined) return JSON.stringify(body)
  const mangle = manglings[fault.kind]
  if (mangle !== undefined) return mangle(JSON.stringify(body))
  const copy = structuredClone(body)
  const all = placesIn(copy)
  const place = all[fault.place % all.length]
  if (place === undefined) return JSON.stringify(body)
  const addition = additions[fault.kind]
  if (addition !== undefined) {
    const inner = place.container[place.key]
    const target = isContainer(inner) && !Array.isArray(inner) ? inner : copy
    Object.assign(Object(target), { [MARK]: 0 })
    return JSON.stringify(copy).replace(`"${MARK}":0`, () => addition)
  }
  if (fault.kind === 'missing') delete place.container[place.key]
  else place.container[place.key] = MARK
  return JSON.stringify(copy).replace(`"${MARK}"`, () => replacements[fault.kind] ?? '')
}

interface Place {
  readonly container: Record<string, unknown>
  readonly key: string
}

function placesIn(value: unknown): Place[] {
  if (!isContainer(value)) return []
  return Object.keys(value).flatMap((key) => [{ container: value, key }, ...placesIn(value[key])])
}

function isContainer(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
