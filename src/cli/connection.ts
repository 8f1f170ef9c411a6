import { readFileSync } from 'node:fs'
import { httpTransport, type Transport } from '../client/transport.ts'
import { type Arguments, type Command, UsageError } from './command.ts'

/** Options of every command that talks to a broker. */
export const connectionOptions = {
  username: { type: 'string' },
  password: { type: 'string' },
  ca: { type: 'string' }
} satisfies Command['options']

/** Their lines in the help of a command. */
export const connectionHelp = [
  '  --username NAME      of the broker; default: OSB_USERNAME, or that in the URL',
  '  --password PASSWORD  default: OSB_PASSWORD, or that in the URL',
  '  --ca FILE            PEM of the authorities to trust instead of the well-known ones'
].join('\n')

/** How to reach a broker, and as whom. */
export interface Connection {
  readonly transport: Transport
  readonly username: string | undefined
  readonly password: string | undefined
}

/**
 * The connection that the options, the environment and the URL of the broker describe, in this order.
 * @throws {UsageError} when they do not describe one
 */
export function connectionTo(address: string, values: Arguments['values']): Connection {
  const shown = withoutCredentials(address)
  if (!URL.canParse(address) || !/^https?:$/.test(new URL(address).protocol)) {
    throw new UsageError(`The URL of a broker is like http://127.0.0.1:8080, not ${shown}.`)
  }
  const url = new URL(address)
  const username = textOf(values, 'username') ?? (process.env.OSB_USERNAME || decoded(url.username))
  const password = textOf(values, 'password') ?? (process.env.OSB_PASSWORD || decoded(url.password))
  if ((username === undefined) !== (password === undefined)) {
    throw new UsageError('Give both --username (or OSB_USERNAME) and --password (or OSB_PASSWORD).')
  }
  const ca = textOf(values, 'ca')
  const transport = httpTransport({ url: shown, ca: ca === undefined ? undefined : authorityIn(ca) })
  return { transport, username, password }
}

/** The text of an option; an empty one counts as none. */
export function textOf(values: Arguments['values'], name: string): string | undefined {
  const value = values[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}

/** A URL as it may be printed. */
export function withoutCredentials(text: string): string {
  if (!URL.canParse(text)) return text.replace(/\/\/[^/]*@/, '//')
  const url = new URL(text)
  url.username = ''
  url.password = ''
  return url.href
}

function authorityIn(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`--ca cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function decoded(text: string): string | undefined {
  return text === '' ? undefined : decodeURIComponent(text)
}
