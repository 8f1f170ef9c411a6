import type { FuncKeywordDefinition } from 'ajv'
import { isJsonObject } from './faults.ts'

/**
 * `uniqueItems` in linear time. Ajv's own compares each item with each other: one request with 100,000 items would hold
 * the broker for minutes.
 */
export const uniqueItems: FuncKeywordDefinition = {
  keyword: 'uniqueItems',
  type: 'array',
  schemaType: 'boolean',
  validate: (unique: boolean, items: readonly unknown[]) =>
    !unique || new Set(items.map((item) => canonical(item))).size === items.length
}

/** JSON with sorted keys: equal values, and only those, have equal texts. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item: unknown) => canonical(item)).join()}]`
  if (!isJsonObject(value)) return JSON.stringify(value) ?? 'null'
  const entries = Object.keys(value).sort()
  return `{${entries.map((key) => `${JSON.stringify(key)}:${canonical(value[key])}`).join()}}`
}
