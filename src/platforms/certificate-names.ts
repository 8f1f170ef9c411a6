import { Mistake } from './mistake.ts'

/** One attribute of a distinguished name up to the comma or plus behind it (RFC 4514, section 3). */
const ATTRIBUTE = /\s*([A-Za-z][\w-]*|\d+(?:\.\d+)+)\s*=\s*((?:\\[\dA-Fa-f]{2}|\\[^\dA-Fa-f]|[^\\,+"<>;])*)(,|\+|$)/y
const CHARACTER = /\\[\dA-Fa-f]{2}|\\.|[^\\]/gu

/** What else the types are called than OpenSSL does. */
const OTHER_NAMES: Record<string, string> = { E: 'EMAILADDRESS', EMAIL: 'EMAILADDRESS', S: 'ST', USERID: 'UID' }

/**
 * A distinguished name in a form in which equal ones are equal texts: neither order nor spacing matters, each value does
 * to the letter.
 * @throws {Mistake} when it is not written as RFC 4514 has it
 */
export function parseSubject(text: string): string {
  const attributes: [string, string][] = []
  for (let index = 0, more = true; more; index = ATTRIBUTE.lastIndex) {
    ATTRIBUTE.lastIndex = index
    const [, type = '', value = '', end] = ATTRIBUTE.exec(text) ?? []
    if (end === undefined || value.trim() === '' || value.startsWith('#')) {
      throw new Mistake(
        `must be a distinguished name such as CN=cf-prod,OU=platforms, got ${JSON.stringify(text)}; ` +
          'a backslash goes before , + " \\ < > ; in a value (RFC 4514)'
      )
    }
    attributes.push([type, unescaped(value)])
    more = end !== ''
  }
  return normalize(attributes)
}

/** The same of a certificate's subject, as Node.js gives it: values by type, several as an array. */
export function subjectOf(subject: Readonly<Record<string, string | string[] | undefined>>): string {
  return normalize(
    Object.entries(subject).flatMap(([type, values]) => [values ?? []].flat().map((value) => [type, value] as const))
  )
}

function normalize(attributes: readonly (readonly [string, string])[]): string {
  const written = attributes.map(([type, value]) => {
    const upper = type.toUpperCase()
    return JSON.stringify([OTHER_NAMES[upper] ?? upper, value])
  })
  return written.sort().join()
}

/** Spaces at the end count only where they are escaped. */
function unescaped(value: string): string {
  const characters = value.match(CHARACTER) ?? []
  while (characters.at(-1) === ' ') characters.pop()
  const bytes = characters.map((character) => {
    if (!character.startsWith('\\')) return Buffer.from(character)
    return character.length === 3 ? Buffer.from(character.slice(1), 'hex') : Buffer.from(character.slice(1))
  })
  return Buffer.concat(bytes).toString()
}

/**
 * A subject alternative name in the form of {@link alternativeNamesOf}.
 * @throws {Mistake} when it is of another kind
 */
export function parseAlternativeName(text: string): string {
  const [, kind = '', value = ''] = /^(DNS|URI|email):\s*(\S.*)$/i.exec(text.trim()) ?? []
  if (kind === '') {
    throw new Mistake(`must be DNS:cf.example.com, URI:spiffe://… or email:…, got ${JSON.stringify(text)}`)
  }
  return alternativeName(kind, value)
}

/** One name of a certificate as Node.js writes it; what could be mistaken for another is in quotes, as JSON. */
const ALTERNATIVE = /([^:,"]+):("(?:[^"\\]|\\.)*"|[^,"]*)(?:, |$)/y

/** The subject alternative names of a certificate; none when they cannot be told apart for sure. */
export function alternativeNamesOf(text: string | undefined): string[] {
  const names: string[] = []
  for (let index = 0; text !== undefined && index < text.length; index = ALTERNATIVE.lastIndex) {
    ALTERNATIVE.lastIndex = index
    const [, kind, value] = ALTERNATIVE.exec(text) ?? []
    if (kind === undefined || value === undefined) return []
    names.push(alternativeName(kind, value.startsWith('"') ? String(JSON.parse(value)) : value))
  }
  return names
}

/** Host names know no case; anything else is compared to the letter. */
function alternativeName(kind: string, value: string): string {
  const upper = kind.toUpperCase()
  return `${upper}:${upper === 'DNS' ? value.toLowerCase() : value}`
}
