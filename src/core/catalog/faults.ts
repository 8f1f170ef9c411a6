import type { JsonObject } from '../../../schemas/common.ts'

/** One thing wrong with a catalog. */
export interface Fault {
  /** Where, with the names of offering and plan: `services[0:postgres].plans[1:pro].id`. */
  path: string
  /** What is wrong, and what is allowed. */
  message: string
}

/** All that a check found. A catalog with errors is not served; warnings name what some platforms refuse. */
export interface CatalogReport {
  errors: Fault[]
  warnings: Fault[]
}

/** Keys and indices from the root of a JSON value. */
export type Place = readonly (string | number)[]

/** A fault before its place is written out. */
export interface Finding {
  at: Place
  message: string
  /** The specification allows it, and this broker cannot work with it. */
  ours?: true
}

/** A catalog that cannot be read or breaks a rule; `message` is all an operator needs. */
export class CatalogError extends Error {
  override readonly name = 'CatalogError'
  /** Empty when the file could not be read at all. */
  readonly faults: readonly Fault[]

  constructor(message: string, options: { faults?: readonly Fault[]; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.faults = options.faults ?? []
  }
}

/** Writes out where a finding is; `root` is the catalog, for the names. */
export function toFault(root: unknown, { at, message }: Finding): Fault {
  let path = ''
  let value = root
  for (const [depth, key] of at.entries()) {
    value = childOf(value, key)
    // Only `services[i]` and `plans[j]` are known by a name; an index alone says nothing in a file of 2,000 lines.
    const named = typeof key === 'number' && (depth === 1 || depth === 3) ? nameOf(value) : undefined
    path += named === undefined ? step(key, path === '') : `[${key}:${named}]`
  }
  return { path: path === '' ? '(catalog)' : path, message }
}

/** Writes a place as one would in JavaScript: `a.b[0]["odd key"]`. */
export function writePlace(at: Place): string {
  return at.reduce<string>((path, key) => path + step(key, path === ''), '')
}

/** Narrows to a JSON object. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Shortens a text of unknown length, so that a message stays readable. */
export function shorten(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}

function step(key: string | number, first: boolean): string {
  if (typeof key === 'number') return `[${key}]`
  if (!/^[\w$][\w$-]*$/.test(key)) return `[${JSON.stringify(shorten(key, 60))}]`
  return first ? shorten(key, 60) : `.${shorten(key, 60)}`
}

function childOf(value: unknown, key: string | number): unknown {
  if (Array.isArray(value)) return typeof key === 'number' ? value[key] : undefined
  return isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined
}

function nameOf(value: unknown): string | undefined {
  const name = childOf(value, 'name')
  return typeof name === 'string' && name !== '' ? shorten(name.replaceAll(/[^\w.-]/g, '?'), 40) : undefined
}
