import { isIPv6 } from 'node:net'
import type { Host } from './connection-target.ts'

interface Given {
  /** Between the "@" and the path. */
  readonly authority: string
  /** The parameters of these names. */
  readonly host: string | undefined
  readonly port: string | undefined
}

/**
 * The hosts of a connection URL: `h1:5432,h2`, `[::1]:5432`, `%2Fvar%2Frun%2Fpostgresql`, or the parameters `host` and `port`,
 * which can be lists too. No message shows a host, because without an "@" it is a part of the login.
 */
export function hostsFrom({ authority, host, port }: Given, refuse: (reason: string) => Error): readonly Host[] {
  const written = authority.split(',').map((text) => hostFrom(text, refuse))
  const names = host?.split(',').map((text) => nameFrom(text, refuse)) ?? written.map((one) => one.host)
  const ports = port?.split(',').map((text) => portFrom(text, refuse)) ?? written.map((one) => one.port)
  if (names.length > 1 && names.includes(undefined)) throw refuse('has an empty place in its list of hosts.')
  if (ports.length !== 1 && ports.length !== names.length) {
    throw refuse(`has ${names.length} hosts and ${ports.length} ports: give one port, or one for each host.`)
  }
  return names.map((name, index) => ({ host: name, port: ports.length === 1 ? ports[0] : ports[index] }))
}

function hostFrom(text: string, refuse: (reason: string) => Error): Host {
  const [, bracketed, plain = '', port] = /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(text) ?? []
  if (bracketed !== undefined && !isIPv6(bracketed)) throw refuse('has brackets without an IPv6 address in them.')
  return { host: bracketed ?? nameFrom(plain, refuse), port: port === undefined ? undefined : portFrom(port, refuse) }
}

function nameFrom(text: string, refuse: (reason: string) => Error): string | undefined {
  const name = decodeURIComponent(text)
  if (name === '') return undefined
  if (/^[A-Za-z0-9._-]+$/.test(name) || name.startsWith('/') || isIPv6(name)) return name
  throw refuse(`has a host that is neither a name nor an address. ${FORM}`)
}

function portFrom(text: string, refuse: (reason: string) => Error): number | undefined {
  if (text === '') return undefined
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0
  if (port >= 1 && port <= 65_535) return port
  throw refuse(`has a port that is not a number from 1 to 65535. ${FORM}`)
}

const FORM =
  'The form is user:password@host:port; an IPv6 address is in brackets, and the folder of a socket is written as ' +
  '%2Fvar%2Frun%2Fpostgresql.'
