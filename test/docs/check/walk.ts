import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join } from 'node:path'
import { Client } from 'pg'
import { removeServer } from '../../helper/postgres.ts'
import { embeddedServer, end, listening, osb, plainEnvironment, watch } from '../../server/broker-process.ts'
import type { Block, Fault } from './page.ts'

/** Where the documentation has its broker. */
const DOCUMENTED_URL = 'http://127.0.0.1:8080'
/** A curl that fails where the broker refuses. */
const CURL = 'curl() { command curl --fail-with-body "$@"; }'

/** A broker as `npm start` runs it, with its `.data` in a folder. */
export interface WalkedBroker {
  /** Runs the blocks of one page in one shell, which ends at the first command that fails. */
  walk(blocks: readonly Block[]): Promise<Fault[]>
  /** Executes a block as the embedded server's superuser, and rolls it back. */
  execute(block: Block): Promise<Fault[]>
  stop(): Promise<void>
}

/** Starts the broker that walks are run against. */
export async function startWalkedBroker(folder: string): Promise<WalkedBroker> {
  const bin = join(folder, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'osb'), `#!/bin/sh\nexec "${process.execPath}" "${osb}" "$@"\n`, { mode: 0o755 })
  const path = [bin, dirname(process.execPath), process.env.PATH].join(delimiter)
  const { NODE_COMPILE_CACHE = '' } = process.env
  const env = { ...plainEnvironment(), NODE_COMPILE_CACHE, PATH: path, BROKER_PORT: '0', LOG_LEVEL: 'warn' }
  // For root the cluster is elsewhere: it does not go away with the folder. Comes after a fault of the check too.
  const removeCluster = () => removeServer(join(folder, '.data/postgresql'))
  process.once('exit', removeCluster)
  const broker = await listening(watch(spawn(process.execPath, [osb, 'serve'], { cwd: folder, env })))

  return {
    async walk(blocks) {
      const [first] = blocks
      if (first === undefined) return []
      const script = blocks.map(({ text, line }) => `at=${line}\n${text.replaceAll(DOCUMENTED_URL, broker.url)}`)
      const start = ['set -eu -o pipefail', CURL, 'trap \'echo "@$at" >&2\' ERR', 'set -E']
      const shell = watch(
        spawn('bash', ['-c', [...start, ...script].join('\n')], { cwd: folder, env: { ...env, OSB_URL: broker.url } })
      )
      const { code } = await shell.ended
      if (code === 0) return []
      const line = Number(/^@(\d+)$/m.exec(shell.stderr)?.[1] ?? first.line)
      return [{ page: first.page, line, message: `the walk ended with ${code}:\n${shell.stdout}${shell.stderr}` }]
    },

    async execute({ page, line, text }) {
      // Where the broker's own tables are spoken of, in the database of its state
      const database = /\bosb\./.test(text) ? 'osb_state' : 'postgres'
      const client = new Client({ connectionString: embeddedServer(join(folder, '.data')).urlOf(database) })
      await client.connect()
      try {
        // The roles that the pages speak of.
        await client.query('BEGIN; CREATE ROLE broker_admin LOGIN CREATEDB CREATEROLE; CREATE ROLE broker LOGIN')
        await client.query(text)
        return []
      } catch (error) {
        return [{ page, line, message: error instanceof Error ? error.message : String(error) }]
      } finally {
        await client.query('ROLLBACK')
        await client.end()
      }
    },

    async stop() {
      await end(broker, 'SIGTERM')
      process.off('exit', removeCluster)
      removeCluster()
    }
  }
}
