import { readdirSync, readFileSync } from 'node:fs'
import { query } from './broker-process.ts'

/** Everything that was said or written, by where. */
export type Places = Readonly<Record<string, string>>

/** Secrets by what they are: texts, or the bytes of keys. */
export type Secrets = ReadonlyMap<string, string | Buffer>

/** Where which secret is found, and in which form. */
export function leaksIn(places: Places, secrets: Secrets): string[] {
  return Object.entries(places).flatMap(([place, text]) =>
    [...secrets].flatMap(([name, secret]) =>
      Object.entries(formsOf(secret)).flatMap(([form, searched]) =>
        searched.some((needle) => text.includes(needle)) ? [`${place}: ${name} (${form})`] : []
      )
    )
  )
}

/** How a secret may be written. */
export function formsOf(secret: string | Buffer): Record<string, string[]> {
  const bytes = Buffer.from(secret)
  const text = typeof secret === 'string' ? secret : undefined
  const base64 = [0, 1, 2].map((offset) => base64Within(bytes, offset))
  const hex = bytes.toString('hex')
  return {
    ...(text === undefined ? {} : { plain: [text, JSON.stringify(text).slice(1, -1), text.replaceAll("'", "''")] }),
    ...(text === undefined
      ? {}
      : { 'URL-encoded': [encodeURIComponent(text), new URLSearchParams([['', text]]).toString().slice(1)] }),
    base64: [...base64, ...base64.map((coded) => coded.replaceAll('+', '-').replaceAll('/', '_'))],
    hex: [hex, hex.toUpperCase()]
  }
}

/** The characters of base64 that depend on these bytes alone, with so many bytes before them. */
function base64Within(bytes: Buffer, offset: number): string {
  const coded = Buffer.concat([Buffer.alloc(offset), bytes]).toString('base64')
  return coded.slice(Math.ceil((offset * 8) / 6), Math.floor(((offset + bytes.length) * 8) / 6))
}

/** Every row of every table of a database as text, whatever schema it is in. */
export async function dumpOf(url: string): Promise<string> {
  const tables = await query(
    url,
    `SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables
    WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`
  )
  const rows = await Promise.all(
    tables.map(({ name }) => query(url, `SELECT $1 || ' ' || t::text AS row FROM ${name} AS t`, [name]))
  )
  return rows
    .flat()
    .map(({ row }) => row)
    .join('\n')
}

/** The command lines of every process, seen now and every few milliseconds until it is stopped. */
export function commandLines(): { readonly seen: () => string; readonly stop: () => void } {
  const lines = new Set<string>()
  const look = () => {
    for (const name of readdirSync('/proc')) {
      if (!/^\d+$/.test(name)) continue
      try {
        lines.add(readFileSync(`/proc/${name}/cmdline`, 'utf8').replaceAll('\0', ' '))
      } catch {
        // It has ended since the folder was read.
      }
    }
  }
  look()
  const timer = setInterval(look, 50)
  return { seen: () => [...lines].join('\n'), stop: () => clearInterval(timer) }
}
