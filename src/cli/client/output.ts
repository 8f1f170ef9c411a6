import type { JsonObject } from '../../../schemas/common.ts'
import { type Arguments, UsageError } from '../command.ts'
import { textOf } from '../connection.ts'

export const FORMATS = ['table', 'json', 'env'] as const
export type Format = (typeof FORMATS)[number]

/** @throws {UsageError} when `--output` is none of those that the command knows */
export function formatFrom(values: Arguments['values'], allowed: readonly Format[]): Format {
  const given = textOf(values, 'output') ?? 'table'
  const format = allowed.find((name) => name === given)
  if (format === undefined) throw new UsageError(`--output is ${allowed.join(' or ')}, not ${given}.`)
  return format
}

/** Rows below a head, each column as wide as it must be. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(...[head, ...rows].map((row) => (row[column] ?? '').length), title.length)
  )
  const lines = [head, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  )
  return `${lines.join('\n')}\n`
}

/** Names and values, one on a line; nested ones by their path. */
export function properties(value: JsonObject): string {
  const rows = leaves(value)
  const width = Math.max(0, ...rows.map(([path]) => path.join('.').length))
  return rows.map(([path, text]) => `${path.join('.').padEnd(width)}  ${text}\n`).join('')
}

/**
 * `NAME='value'` lines that a POSIX shell reads back as they were. Names are the paths in capitals, behind the prefix.
 * @throws {UsageError} when two values would have one name
 */
export function environment(value: JsonObject, prefix = ''): string {
  const lines = new Map<string, string>()
  for (const [path, text] of leaves(value)) {
    const name = `${prefix}${path.join('_')}`
      .toUpperCase()
      .replaceAll(/[^A-Z0-9_]/g, '_')
      .replace(/^(?=\d)/, '_')
    if (lines.has(name)) throw new UsageError(`Two values would be ${name}; use --output json.`)
    if (text.includes('\0')) throw new UsageError(`${name} holds a NUL, which no environment can; use --output json.`)
    lines.set(name, `${name}='${text.replaceAll("'", `'\\''`)}'\n`)
  }
  return [...lines.values()].join('')
}

export function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`
}

/** Every value that is no object, with the keys that lead to it. */
function leaves(value: JsonObject, path: readonly string[] = []): [readonly string[], string][] {
  return Object.entries(value).flatMap(([key, item]): [readonly string[], string][] => {
    const here = [...path, key]
    if (typeof item === 'object' && item !== null && !Array.isArray(item)) return leaves({ ...item }, here)
    return [[here, typeof item === 'string' ? item : JSON.stringify(item)]]
  })
}
