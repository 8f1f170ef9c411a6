import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { JsonObject } from '../../../schemas/common.ts'
import { type Arguments, type Command, UsageError } from '../command.ts'
import { textOf } from '../connection.ts'

/** Options of the commands that send parameters. */
export const parameterOptions = {
  parameter: { type: 'string', short: 'p', multiple: true },
  parameters: { type: 'string' }
} satisfies Command['options']

export const parameterHelp = [
  '  -p, --parameter KEY=VALUE  one parameter, the value as in YAML: 3 is a number, "3" a text; may be repeated',
  '  --parameters TEXT          JSON or YAML, @FILE, or - for standard input; -p goes over it'
].join('\n')

/** The parameters that were written; `undefined` when none were. */
export function parametersFrom(values: Arguments['values']): JsonObject | undefined {
  const all = textOf(values, 'parameters')
  const single = Array.isArray(values.parameter) ? values.parameter.map(String) : []
  if (all === undefined && single.length === 0) return undefined
  return { ...(all === undefined ? {} : objectIn(sourceOf(all))), ...Object.fromEntries(single.map(pairIn)) }
}

function sourceOf(text: string): string {
  if (text !== '-' && !text.startsWith('@')) return text
  const path = text === '-' ? 0 : text.slice(1)
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new UsageError(`--parameters cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function objectIn(text: string): JsonObject {
  const value = valueIn(text, '--parameters')
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value }
  throw new UsageError(`--parameters must be an object in JSON or YAML, such as {"size": 3}; given was ${text}`)
}

function pairIn(text: string): [string, unknown] {
  const at = text.indexOf('=')
  if (at < 1) throw new UsageError(`--parameter is KEY=VALUE; given was ${text}`)
  return [text.slice(0, at), valueIn(text.slice(at + 1), `--parameter ${text.slice(0, at)}`)]
}

function valueIn(text: string, option: string): unknown {
  if (text === '') return ''
  try {
    return parse(text)
  } catch (error) {
    const reason = error instanceof Error ? error.message.split('\n')[0] : String(error)
    throw new UsageError(`${option} is neither JSON nor YAML: ${reason}`)
  }
}
