import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { removeServer, temporaryDataDir } from '../../helper/postgres.ts'
import { availabilityParts } from './availability.ts'
import { startCluster } from './cluster.ts'
import { type Binaries, installedBinaries, packagedBinaries, supportedMajors } from './major-binaries.ts'

/*
 * npm run test:postgresql -- [--majors 15,17] [--only isolation] [FILE…]
 * The suites of the provider on the embedded server, then on servers of every supported major: the newest package of npm's
 * registry, and what is installed below /usr/lib/postgresql or in the folders that PG_BIN_DIRS names, as PATH does. A file
 * that needs a server of its own starts it from the same programs.
 */

const FOLDER = 'test/providers/postgresql'
/** Files of `--only`. */
const PARTS = {
  isolation: [
    'isolation',
    'quota-attacks',
    ...availabilityParts.flatMap((part) => [`availability-${part}-superuser`, `availability-${part}-plain`])
  ].map((name) => `${FOLDER}/${name}.test.ts`)
}

const { values, positionals } = parseArgs({
  args: process.argv.slice(2),
  allowPositionals: true,
  options: { majors: { type: 'string', default: supportedMajors.join(',') }, only: { type: 'string' } }
})
const files = filesOf(values.only, positionals)
const majors = values.majors.split(',')
for (const major of majors) {
  if (supportedMajors.some((known) => known === major)) continue
  throw new TypeError(`--majors has ${JSON.stringify(major)}: it takes ${supportedMajors.join(', ')}.`)
}

const outcomes = new Map<string, string>()
const packaged = majors.map((major) => ({ name: `${major} (npm)`, find: () => packagedBinaries(major) }))
const installed = installedBinaries().filter(({ major }) => majors.includes(major))
if (values.majors === supportedMajors.join(',')) outcomes.set('embedded', ended(await runTests({})))
for (const { name, find } of packaged) {
  const binaries = await find().catch((error: unknown) => {
    outcomes.set(name, `NOT RUN: ${error instanceof Error ? error.message : String(error)}`)
  })
  if (binaries !== undefined) outcomes.set(binaries.name, ended(await runOn(binaries)))
}
for (const binaries of installed) outcomes.set(binaries.name, ended(await runOn(binaries)))
for (const [server, outcome] of outcomes) console.log(`${server}: ${outcome}`)
process.exitCode = outcomes.size > 0 && [...outcomes.values()].every((outcome) => outcome === 'passed') ? 0 : 1

function filesOf(only: string | undefined, given: readonly string[]): readonly string[] {
  if (only === undefined) return given.length === 0 ? [FOLDER] : given
  if (only === 'isolation') return [...PARTS[only], ...given]
  throw new TypeError(`--only is ${JSON.stringify(only)}: it takes ${Object.keys(PARTS).join(', ')}.`)
}

function ended(code: number): string {
  return code === 0 ? 'passed' : `ended with ${code}`
}

/** Exit code of the test runner. */
async function runTests(more: Record<string, string>): Promise<number> {
  const runner = spawn(process.execPath, ['test/run.ts', ...files], {
    stdio: 'inherit',
    env: { ...process.env, TEST_AVAILABILITY: 'all', ...more }
  })
  const [code] = await once(runner, 'exit')
  return typeof code === 'number' ? code : -1
}

/** On a cluster that is thrown away. */
async function runOn({ name, bin }: Binaries): Promise<number> {
  console.log(`\n== PostgreSQL ${name}`)
  const dataDir = temporaryDataDir()
  try {
    const settings = { fsync: 'off', max_prepared_transactions: '4', max_connections: '200' }
    const { adminUrl, stop } = await startCluster({ bin, dataDir, settings })
    try {
      await prepare(adminUrl)
      return await runTests({ TEST_POSTGRESQL_ADMIN_URL: adminUrl, TEST_POSTGRESQL_BIN: bin })
    } finally {
      await stop()
    }
  } finally {
    removeServer(dataDir)
  }
}

/** The files share the server, and each has an admin of its own: from PostgreSQL 16 on, one cannot use the other's group. */
async function prepare(connectionString: string): Promise<void> {
  const client = new Client({ connectionString })
  await client.connect()
  await client.query('CREATE ROLE osb_tenant NOLOGIN').finally(() => client.end())
}
