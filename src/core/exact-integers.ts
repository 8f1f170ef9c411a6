import { refusals } from './errors.ts'

/** Longest part of a path or a number that an answer repeats, in characters. */
const SHOWN_CHARACTERS = 200

/**
 * Rejects integers beyond ±(2^53 − 1), because JavaScript rounds them and the broker would store another number than the
 * platform sent (RFC 8259, section 6). Numbers with a fraction or an exponent are approximations and stay allowed.
 * @param text valid JSON of bounded depth
 * @param where what the text is part of, for the message
 * @throws {BrokerError} 400 with the path of the integer, the integer, and the range
 */
export function requireExactIntegers(text: string, where: string): void {
  // Such an integer has at least 16 digits. Most bodies have no run of that length, so they are parsed only once.
  if (!/\d{16}/.test(text)) return
  const mark = Symbol('inexact')
  let inexact: string | undefined
  const marked = JSON.parse(text, (_key, part: unknown, context?: { source?: string }) => {
    const source = context?.source ?? ''
    if (inexact !== undefined || typeof part !== 'number' || Number.isSafeInteger(part) || !/^-?\d+$/.test(source)) {
      return part
    }
    inexact = source
    return mark
  })
  if (inexact === undefined) return
  const path = shown(`${where}${pathOf(marked, mark)}`)
  const range = `an integer must be from ${Number.MIN_SAFE_INTEGER} to ${Number.MAX_SAFE_INTEGER}`
  throw refusals.malformed(`${path} is ${shown(inexact)}: ${range}. Send a larger one as a string.`)
}

/** JSON Pointer of the mark (RFC 6901), as the schema errors name a field. */
function pathOf(value: unknown, mark: symbol): string | undefined {
  if (value === mark) return ''
  if (typeof value !== 'object' || value === null) return undefined
  for (const [key, inner] of Object.entries(value)) {
    const rest = pathOf(inner, mark)
    if (rest !== undefined) return `/${key.replaceAll('~', '~0').replaceAll('/', '~1')}${rest}`
  }
  return undefined
}

function shown(text: string): string {
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text
}
