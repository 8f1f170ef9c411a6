import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { broughtAlong, type Lockfile, nameOf, readLockfile } from './lockfile.ts'

const root = new URL('../', import.meta.url)
export const licensesFile = new URL('THIRD_PARTY_LICENSES.md', root)

/** Licences that ask for no more than to be named, and bind nothing of ours. */
const ALLOWED = new Set([
  'MIT',
  'MIT-0',
  'ISC',
  '0BSD',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'CC0-1.0',
  'Unlicense',
  'PostgreSQL',
  'Zlib'
])

/** Whether one may take what an SPDX expression offers: any side of an OR, all of an AND. */
export function isAllowed(expression: string): boolean {
  const bare = expression.replace(/^\((.*)\)$/, '$1')
  // What is nested deeper is no name that is allowed.
  return bare.split(/\s+OR\s+/).some((side) => side.split(/\s+AND\s+/).every((name) => ALLOWED.has(name.trim())))
}

/** What is wrong with the licences of all packages, those of development included: one line each. */
export function licenseFaults(lockfile: Lockfile): string[] {
  return Object.entries(lockfile)
    .filter(([folder, { link }]) => folder.startsWith('node_modules/') && link !== true)
    .filter(([, { license }]) => license === undefined || !isAllowed(license))
    .map(([folder, { version, license }]) => `${nameOf(folder)} ${version}: ${license ?? 'no licence'}`)
}

/** The page of what comes along with the package: each with its licence, and the texts, each once. */
export function licensesPage(): string {
  const lockfile = readLockfile()
  const packages = new Map(
    broughtAlong(lockfile).map((folder) => {
      const { version = '', license = '' } = lockfile[folder] ?? {}
      const name = nameOf(folder)
      return [`${name} ${version}`, { name, version, license, text: textIn(folder) }]
    })
  )
  const texts = new Map<string, string[]>()
  for (const [title, { text }] of packages) {
    if (text !== undefined) texts.set(text, [...(texts.get(text) ?? []), title])
  }
  return [
    '# Licences of others',
    '',
    'What `npm install fastify-open-service-broker` brings along, and under which licence. Made by `npm run licenses` from the lockfile and the installed packages.',
    '',
    '| package | version | licence |',
    '| --- | --- | --- |',
    ...[...packages.values()].map(({ name, version, license, text }) => {
      const link = `[${name}](https://www.npmjs.com/package/${name}/v/${version})`
      return `| ${link} | ${version} | ${license}${text === undefined ? ', without a text of its own' : ''} |`
    }),
    '',
    ...[...texts].flatMap(([text, names]) => [`## ${names.join(', ')}`, '', '```text', text, '```', '']),
    ''
  ]
    .join('\n')
    .replace(/\n+$/, '\n')
}

/** The licence and the notices that a package has, without the marks of the machine that wrote it. */
function textIn(folder: string): string | undefined {
  const path = new URL(`${folder}/`, root)
  const names = readdirSync(path).filter((name) => /^(?:licen[cs]e|copying|notice)(?:[.-].*)?$/i.test(name))
  const texts = names.sort().map((name) => readFileSync(new URL(name, path), 'utf8'))
  if (texts.length === 0) return undefined
  const lines = texts.join('\n\n').replaceAll('\r\n', '\n').replaceAll('```', "'''").split('\n')
  return lines
    .map((line) => line.trimEnd())
    .join('\n')
    .trim()
}

if (import.meta.main) {
  writeFileSync(licensesFile, licensesPage())
  const faults = licenseFaults(readLockfile())
  for (const fault of faults) console.error(`This licence is not one that we may take: ${fault}`)
  process.exitCode = faults.length === 0 ? 0 : 1
}
