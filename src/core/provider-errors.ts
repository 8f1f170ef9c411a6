import { inspect } from 'node:util'
import { BrokerError } from './errors.ts'
import { Rejected, Unavailable } from './provider.ts'

/**
 * An error of a provider that can be read, logged and stored: with a message that a database accepts, and extensible, because
 * the logger marks errors while it serialises them. Usually the error itself.
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
  return described && storableText(message) === message && Object.isExtensible(error)
}

function copyOf(error: Error): Error {
  const copy = sameKind(error, storableText(String(error.message)))
  copy.stack = String(error.stack)
  return copy
}

function sameKind(error: Error, message: string): Error {
  if (error instanceof Rejected) return new Rejected(error.status, message, error.details)
  if (error instanceof BrokerError) return new BrokerError(error.status, message, error.details)
  if (error instanceof Unavailable) return new Unavailable(message)
  return Object.assign(new Error(message), { name: String(error.name) })
}
