import type { Finding, Place } from './faults.ts'

/** The largest catalog we take, as a file and with YAML aliases written out. Real ones stay below 1 MiB. */
export const MAX_CATALOG_CHARACTERS = 4 * 1024 * 1024

/** Deeper than any catalog; stops cycles and keeps `JSON.stringify` and the validators off the end of the stack. */
const MAX_DEPTH = 64

interface Copying {
  findings: Finding[]
  /** Characters that may still be copied; below zero the copy is given up. */
  left: number
}

/**
 * Copies a value, taking only what JSON can say. The copy is ours: the caller's object is never changed, and
 * whatever the caller does to it later does not reach us.
 */
export function copyJson(source: unknown): { value: unknown; findings: Finding[] } {
  const copying: Copying = { findings: [], left: MAX_CATALOG_CHARACTERS }
  const value = copyValue(source, [], copying)
  return { value, findings: copying.findings }
}

function copyValue(value: unknown, at: Place, copying: Copying): unknown {
  copying.left -= typeof value === 'string' ? value.length + 3 : 3
  if (copying.left < 0) return giveUp(at, `is larger than ${MAX_CATALOG_CHARACTERS} characters`, copying)
  if (typeof value === 'string') return copyString(value, at, copying)
  if (typeof value === 'boolean' || value === null) return value
  if (typeof value === 'number') {
    if (!Number.isFinite(value))
      copying.findings.push({ at, message: `must be a number that JSON knows, got ${value}` })
    return value
  }
  if (typeof value !== 'object') {
    copying.findings.push({ at, message: `must be a JSON value, got ${typeof value}` })
    return null
  }
  if (at.length >= MAX_DEPTH)
    return giveUp(at, `is nested more than ${MAX_DEPTH} levels deep, or contains itself`, copying)
  return Array.isArray(value)
    ? value.map((item: unknown, index) => copyValue(item, [...at, index], copying))
    : copyObject(value, at, copying)
}

function copyObject(value: object, at: Place, copying: Copying): Record<string, unknown> {
  const copy: Record<string, unknown> = {}
  const prototype: unknown = Object.getPrototypeOf(value)
  // Plain objects of other realms count as well: theirs is another `Object.prototype`, itself without a prototype.
  if (prototype !== null && Object.getPrototypeOf(prototype) !== null) {
    copying.findings.push({ at, message: `must be a JSON value, got an instance of ${value.constructor.name}` })
    return copy
  }
  for (const [key, item] of Object.entries(value)) {
    if (copying.left < 0) return copy
    const place = [...at, key]
    copying.left -= key.length + 3
    copyString(key, place, copying)
    if (key === '__proto__') copying.findings.push({ at: place, message: 'is not allowed as a key' })
    else if (key === '<<') copying.findings.push({ at: place, message: 'is a merge key, which YAML 1.2 does not have' })
    else if (item !== undefined) copy[key] = copyValue(item, place, copying)
  }
  return copy
}

function copyString(value: string, at: Place, copying: Copying): string {
  // Neither can be stored by PostgreSQL, and the second cannot be sent as UTF-8.
  if (value.includes('\0')) copying.findings.push({ at, message: 'must not contain the character NUL' })
  if (!value.isWellFormed()) copying.findings.push({ at, message: 'must not contain half of a surrogate pair' })
  return value
}

function giveUp(at: Place, message: string, copying: Copying): null {
  // Said once: a cycle or an alias bomb would otherwise fill memory with the same finding.
  if (copying.left > Number.NEGATIVE_INFINITY) copying.findings.push({ at, message })
  copying.left = Number.NEGATIVE_INFINITY
  return null
}
