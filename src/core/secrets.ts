import type { JsonObject } from '../../schemas/common.ts'

/** What stands in place of a secret. */
const HIDDEN = '(secret)'
/** Shorter texts are found in others by chance. */
const MIN_LENGTH = 8
/** Deeper than what is logged; what is left out there tells nothing. */
const MAX_DEPTH = 8

/** Fields whose values are secrets: every one of these in credentials, where that is what a `token` or a `key` is. */
const IN_CREDENTIALS = /pass|pwd|secret|private|token|key/i
/** In a saved state a bare `token` or `key` is as often the name of something. */
const IN_STATE = /pass|pwd|secret|private|(?:access|api|auth|bearer|refresh|signing)[_-]?(?:key|token)/i

/** The secrets of one attempt at an operation: what a provider says of it must not have them. */
export class Secrets {
  /** Longest first: one may be a part of another. */
  #texts: string[] = []
  /** What has not been looked through yet: most attempts say nothing that secrets could be in. */
  #unread: (() => string[])[] = []

  /** Takes a text out of all that is said from now on. */
  add(secret: string): void {
    this.#unread.push(() => [secret])
  }

  addCredentials(credentials: JsonObject | undefined): void {
    if (credentials !== undefined) this.#unread.push(() => secretsIn(credentials, IN_CREDENTIALS))
  }

  addState(state: JsonObject | undefined): void {
    // At once: the provider has the same object, and may change it.
    if (state !== undefined) for (const secret of secretsIn(state, IN_STATE)) this.add(secret)
  }

  #known(): string[] {
    if (this.#unread.length === 0) return this.#texts
    const secrets = this.#unread.splice(0).flatMap((read) => read())
    const forms = secrets.filter((secret) => secret !== '').flatMap(formsOf)
    this.#texts = [...new Set([...this.#texts, ...forms])].sort((a, b) => b.length - a.length)
    return this.#texts
  }

  /** The text without secrets. */
  hideIn(text: string): string {
    return this.#known().reduce((hidden, secret) => hidden.replaceAll(secret, HIDDEN), text)
  }

  /** The error without secrets, of the same class; itself where it has none. */
  hideInError(error: unknown): unknown {
    return this.#known().length === 0 ? error : this.#hide(error, 0)
  }

  /** The fields of a log line without secrets. */
  hideInFields(fields: object): object {
    const hidden = this.#known().length === 0 ? fields : this.#hide(fields, 0)
    return typeof hidden === 'object' && hidden !== null ? hidden : {}
  }

  #hide(value: unknown, depth: number, seen = new Map<object, unknown>()): unknown {
    if (typeof value === 'string') return this.hideIn(value)
    if (typeof value !== 'object' || value === null || value instanceof Date || ArrayBuffer.isView(value)) return value
    if (depth >= MAX_DEPTH) return HIDDEN
    if (seen.has(value)) return seen.get(value)
    seen.set(value, value)
    const hidden = propertiesOf(value).map(([name, { value: held, ...rest }]) => {
      return { name, held, property: { ...rest, value: this.#hide(held, depth + 1, seen) } }
    })
    if (hidden.every(({ held, property }) => property.value === held)) return value
    const copy = Array.isArray(value)
      ? [...value]
      : Object.create(Object.getPrototypeOf(value), Object.getOwnPropertyDescriptors(value))
    for (const { name, property } of hidden) Object.defineProperty(copy, name, property)
    seen.set(value, copy)
    return copy
  }
}

/** As it may stand in a URL and in JSON. */
function formsOf(secret: string): string[] {
  return [secret, encodeURIComponent(secret.toWellFormed()), JSON.stringify(secret).slice(1, -1)]
}

/** What a log shows of an object: what is enumerable, and of an error its message, stack and cause, which are not. */
function propertiesOf(value: object): [name: string, property: PropertyDescriptor][] {
  const own = Object.entries(Object.getOwnPropertyDescriptors(value))
  if (!(value instanceof Error))
    return own.filter(([, { enumerable, get }]) => enumerable === true && get === undefined)
  const { stack } = value
  // An accessor that works on the error alone.
  const text: PropertyDescriptor = { value: stack, writable: true, enumerable: false, configurable: true }
  return [...own.filter(([name, { get }]) => name !== 'stack' && get === undefined), ['stack', text]]
}

/** Whether a saved state has a password, a token or a key of the credentials. */
export function hasSecretOf(credentials: JsonObject, state: JsonObject): boolean {
  const text = JSON.stringify(state)
  return secretsIn(credentials, IN_STATE).some((secret) => text.includes(JSON.stringify(secret).slice(1, -1)))
}

/**
 * Texts that are secrets by the names of their fields, and the passwords in URLs. A provider may return anything, so a cycle, deep
 * nesting or a property that cannot be read must not throw.
 */
function secretsIn(root: unknown, names: RegExp): string[] {
  const secrets: string[] = []
  const seen = new Set<object>()
  const open = [{ value: root, name: '' }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, name } = next
    if (typeof value === 'string') {
      if (names.test(name) && value.length >= MIN_LENGTH && !URL.canParse(value)) secrets.push(value)
      secrets.push(...passwordIn(value))
    }
    if (typeof value !== 'object' || value === null || seen.has(value)) continue
    seen.add(value)
    for (const [key, item] of entriesOf(value)) open.push({ value: item, name: Array.isArray(value) ? name : key })
  }
  return secrets
}

function entriesOf(value: object): [name: string, value: unknown][] {
  try {
    return Object.entries(value)
  } catch {
    // It has a property that cannot be read, and is not passed on.
    return []
  }
}

function passwordIn(text: string): string[] {
  if (!URL.canParse(text)) return []
  const { password } = new URL(text)
  if (password.length < MIN_LENGTH) return []
  return [password, decoded(password)]
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    // A stray percent sign: it stands for itself.
    return text
  }
}
