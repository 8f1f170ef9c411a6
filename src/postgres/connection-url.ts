import { distance } from '../core/catalog/near-misses.ts'
import { type ConnectionTarget, sessionAttributes } from './connection-target.ts'
import { hostsFrom } from './url-hosts.ts'
import { tlsFrom } from './url-tls.ts'

/** A connection URL is invalid. The message names the variable or option, and contains no part of a secret. */
export class ConnectionUrlError extends Error {
  override readonly name = 'ConnectionUrlError'
}

const parameters = [
  'application_name',
  'connect_timeout',
  'dbname',
  'host',
  'options',
  'password',
  'port',
  'ssl',
  'sslcert',
  'sslkey',
  'sslmode',
  'sslnegotiation',
  'sslrootcert',
  'target_session_attrs',
  'uselibpqcompat',
  'user'
] as const
type ParameterName = (typeof parameters)[number]

/** The decoded parameters of a URL. */
export type Parameters = Partial<Record<ParameterName, string>>

/** The broker sets these itself, so that every statement has a timeout. */
const OWN = /^(?:statement_timeout|lock_timeout|idle_in_transaction_session_timeout|query_timeout|keepalives.*)$/

/**
 * Parses a connection URL strictly. node-postgres ignores unknown parameters, so that `sslMode` instead of `sslmode` gives a
 * connection without TLS.
 *
 * @param name The variable or option that contains the URL.
 * @throws {ConnectionUrlError}
 */
export function parseConnectionUrl(text: string, name: string): ConnectionTarget {
  const rest = /^\s*postgres(?:ql)?:\/\/(.*?)\s*$/is.exec(text)?.[1]
  if (rest === undefined) throw refuse(name, 'is not usable: it must be postgresql://user:password@host:port/database.')
  requireEncoded(name, rest)
  const [place = '', query = ''] = split(rest, '?')
  const [authority = '', database = ''] = split(place, '/')
  const [login, hosts] = authority.includes('@') ? split(authority, '@') : ['', authority]
  const [user = '', password = ''] = split(login, ':')
  const given = parametersFrom(name, query)
  const because = (reason: string) => refuse(name, reason)
  const found = hostsFrom({ authority: hosts ?? '', host: given.host, port: given.port }, because)
  return {
    hosts: found,
    user: given.user ?? some(decodeURIComponent(user)),
    password: given.password ?? some(decodeURIComponent(password)),
    database: given.dbname ?? some(decodeURIComponent(database)),
    tls: tlsFrom(given, because),
    // Of several servers, the broker needs the one that accepts writes.
    attributes:
      oneOf(name, given, { parameter: 'target_session_attrs', allowed: sessionAttributes }) ??
      (found.length > 1 ? 'read-write' : 'any'),
    connectTimeoutMs: seconds(name, given),
    applicationName: given.application_name,
    options: given.options
  }
}

/** Explains special characters that are not encoded. They usually are in the password, so no message shows the URL. */
function requireEncoded(name: string, rest: string): void {
  if (rest.includes('#')) throw refuse(name, `contains an unencoded "#". ${ENCODING}`)
  const ats = rest.split('@').length - 1
  const end = rest.search(/[/?]/)
  if (ats > 1) throw refuse(name, `contains more than one "@". ${ENCODING}`)
  if (ats === 1 && end >= 0 && end < rest.indexOf('@')) {
    throw refuse(name, `contains an unencoded "${rest[end]}" before the "@". ${ENCODING}`)
  }
  if (/%(?![0-9a-f]{2})/i.test(rest)) {
    throw refuse(name, `contains a "%" without two hexadecimal digits after it. ${ENCODING}`)
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (/[\s\x00-\x1f]/.test(rest)) throw refuse(name, `contains a space or a control character. ${ENCODING}`)
  try {
    decodeURIComponent(rest)
  } catch {
    throw refuse(name, 'contains percent escapes that are not UTF-8.')
  }
}

const ENCODING =
  'Percent-encode special characters in the user name, the password and the other parts: ' +
  '@ as %40, / as %2F, # as %23, ? as %3F, & as %26, % as %25, a space as %20.'

function parametersFrom(name: string, query: string): Parameters {
  const given: Parameters = {}
  for (const part of query.split('&')) {
    if (part === '') continue
    const [key, text = ''] = split(part, '=')
    if (!isKnown(key)) throw refuse(name, unknown(key, given))
    if (given[key] !== undefined) throw refuse(name, `has the parameter ${key} twice.`)
    const value = decodeURIComponent(text.replaceAll('+', ' '))
    if (value !== '') given[key] = value
  }
  return given
}

function isKnown(key: string): key is ParameterName {
  return parameters.some((known) => known === key)
}

function unknown(key: string, given: Parameters): string {
  const near = nearest(key)
  // After an unencoded "&", the name of the parameter is a part of the password.
  if (given.password !== undefined && near === undefined) {
    return 'has an unknown parameter after its password. Write "&" in a password as %26.'
  }
  if (!/^[a-z][\w.-]{0,62}$/i.test(key)) return `contains an invalid parameter name after the "?". ${ENCODING}`
  if (OWN.test(key)) return `has the parameter ${JSON.stringify(key)}, which the broker sets itself: leave it out.`
  if (near !== undefined) return `has the unknown parameter ${JSON.stringify(key)}: use ${JSON.stringify(near)}.`
  return `has the unknown parameter ${JSON.stringify(key)}. Known are ${parameters.join(', ')}.`
}

function nearest(key: string): ParameterName | undefined {
  const name = key.toLowerCase().replaceAll('-', '_')
  const [best] = parameters
    .map((known) => ({ known, far: distance(name, known) }))
    .sort((one, other) => one.far - other.far)
  return best !== undefined && best.far <= 2 && best.far < best.known.length / 2 ? best.known : undefined
}

/** The value of a parameter with few allowed values. */
function oneOf<T extends string>(
  name: string,
  given: Parameters,
  { parameter, allowed }: { parameter: ParameterName; allowed: readonly T[] }
): T | undefined {
  const value = given[parameter]
  const found = allowed.find((known) => known === value)
  if (value !== undefined && found === undefined) {
    throw refuse(name, `has ${parameter}=${value}: allowed are ${allowed.join(', ')}.`)
  }
  return found
}

function seconds(name: string, { connect_timeout: value }: Parameters): number | undefined {
  if (value === undefined) return undefined
  if (!/^\d{1,4}$/.test(value)) throw refuse(name, `has connect_timeout=${value}: it must be a number of seconds.`)
  // As in libpq, 0 disables this timeout
  return Number(value) === 0 ? undefined : Number(value) * 1_000
}

/** The parts before and after the first separator. */
function split(text: string, separator: string): [string, string?] {
  const at = text.indexOf(separator)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + separator.length)]
}

function some(text: string): string | undefined {
  return text === '' ? undefined : text
}

function refuse(name: string, reason: string): ConnectionUrlError {
  return new ConnectionUrlError(`${name} ${reason}`)
}
