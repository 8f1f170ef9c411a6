import { readFileSync, writeFileSync } from 'node:fs'
import type { TSchema } from '@sinclair/typebox'
import { Environment } from '../../src/config.ts'

/* npm run docs:table: writes the table of docs/configuration.md, which the schema of the configuration is the source of. */

const page = new URL('../../docs/configuration.md', import.meta.url)
const TABLE = /(<!-- table of npm run docs:table -->\n)[\s\S]*?(<!-- end of the table -->)/

/** Every variable, as the schema has it. */
export function configurationTable(): string {
  const rows = Object.entries<TSchema>(Environment.properties).map(([name, schema]) => [
    `\`${name}\``,
    schema.default === undefined ? '' : `\`${schema.default}\``,
    allowed(schema),
    schema.description ?? ''
  ])
  const head = ['variable', 'default', 'allowed', 'meaning']
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** The page with another table. */
export function withTable(source: string, table: string): string {
  if (!TABLE.test(source)) throw new Error('docs/configuration.md has lost the comments around its table.')
  return source.replace(TABLE, (_all, start: string, end: string) => `${start}\n${table}\n\n${end}`)
}

function allowed(schema: TSchema): string {
  const { anyOf, minimum, maximum } = schema as { anyOf?: { const: unknown }[]; minimum?: number; maximum?: number }
  if (anyOf !== undefined) return anyOf.map(({ const: value }) => `\`${value}\``).join(' ')
  return minimum === undefined ? '' : `${minimum} to ${maximum}`
}

if (import.meta.main) writeFileSync(page, withTable(readFileSync(page, 'utf8'), configurationTable()))
