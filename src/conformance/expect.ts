import { isDeepStrictEqual } from 'node:util'
import type { TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../schemas/common.ts'
import { NotApplicable, Violation } from './check.ts'
import { type Exchange, isObject } from './exchange.ts'

/** @throws {Violation} when the status is another; the caller names what it stands for */
export function expectStatus(exchange: Exchange, allowed: number | readonly number[], why: string): void {
  const statuses = typeof allowed === 'number' ? [allowed] : allowed
  if (statuses.includes(exchange.status)) return
  throw new Violation(`${why}: expected ${statuses.join(' or ')}, got ${exchange.status}`)
}

/** @throws {Violation} when the error code is another (spec: Error Codes) */
export function expectError(exchange: Exchange, code: string): void {
  const { error } = exchange.body
  if (error !== code) throw new Violation(`the body must carry the error code "${code}", got ${JSON.stringify(error)}`)
}

/** @throws {Violation} with the first place where the value is not as the schema says */
export function expectShape(schema: TSchema, value: unknown, what: string): void {
  const fault = shapeFault(schema, value)
  if (fault !== undefined) throw new Violation(`${what} ${fault}`)
}

/** The first place where the value is not as the schema says. */
export function shapeFault(schema: TSchema, value: unknown): string | undefined {
  if (Value.Check(schema, value)) return undefined
  const [fault] = Value.Errors(schema, value)
  const place = fault === undefined || fault.path === '' ? 'the body' : fault.path
  return `${place}: ${fault?.message ?? 'has another shape'}, got ${JSON.stringify(fault?.value)?.slice(0, 200)}`
}

/** @throws {Violation} when the two differ */
export function expectSame(actual: unknown, expected: unknown, what: string): void {
  if (isDeepStrictEqual(actual, expected)) return
  throw new Violation(`${what}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`)
}

/** @throws {Violation} with the text unless the condition holds */
export function expectThat(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new Violation(otherwise)
}

/**
 * Parameters that a fetch tells must be those that were sent. A broker may keep some to itself, and may add what it chose.
 * @throws {NotApplicable} when none are told; {@link Violation} when they differ
 */
export function expectParameters({ body }: Exchange, sent: JsonObject): void {
  const { parameters: told } = body
  if (!isObject(told)) throw new NotApplicable('parameters are not returned')
  const common = Object.keys(sent).filter((name) => name in told)
  const pick = (source: JsonObject) => common.map((name) => [name, source[name]])
  expectSame(pick(told), pick(sent), 'parameters')
}
