import { inspect } from 'node:util'
import { BrokerError } from './errors.ts'
import { Rejected, Unavailable } from './provider.ts'

/**
 * An error of a provider that can be read, logged, stored and answered: with a message that a database accepts, a status of an
 * error, and extensible, because the logger marks errors while it serialises them. Usually the error itself.
 */
export function readableError(thrown: unknown): Error {
  try {
    if (thrown instanceof Error) return isReadable(thrown) ? thrown : copyOf(thrown)
    return new Error(storableText(`The provider threw no error, but ${inspect(thrown)}.`))
  } catch {
    return new Error('The provider threw an error whose properties cannot be read.')
  }
}

/** The text without the characters that PostgreSQL cannot store: NUL and lone surrogates. */
export function storableText(text: string): string {
  return text.replaceAll('\0', '').toWellFormed()
}

function isReadable(error: Error): boolean {
  const { message, stack } = error
  const described = typeof message === 'string' && (stack === undefined || typeof stack === 'string')
  const answerable = !(error instanceof BrokerError) || isErrorStatus(error.status)
  return described && answerable && storableText(message) === message && Object.isExtensible(error)
}

function isErrorStatus(status: number): boolean {
  return Number.isInteger(status) && status >= 400 && status < 600
}

function copyOf(error: Error): Error {
  const copy = sameKind(error, storableText(String(error.message)))
  copy.stack = String(error.stack)
  return copy
}

function sameKind(error: Error, message: string): Error {
  if (error instanceof BrokerError) {
    // With the status of a success, the platform would believe in a resource that is being undone.
    const status = isErrorStatus(error.status) ? error.status : 500
    const Kind = error instanceof Rejected ? Rejected : BrokerError
    return new Kind(status, message, error.details)
  }
  if (error instanceof Unavailable) return new Unavailable(message)
  return Object.assign(new Error(message), { name: String(error.name) })
}
