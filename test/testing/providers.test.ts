import { mkdtempSync, rmSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { Client } from 'pg'
import { keyProvider } from '../../examples/embedded/key-provider.ts'
import { Keyring } from '../../examples/embedded/keyring.ts'
import type { ServiceProvider } from '../../src/core/provider.ts'
import { exampleProvider } from '../../src/providers/example.ts'
import { postgresqlProvider } from '../../src/providers/postgresql/index.ts'
import { testProvider, wrap } from '../../src/testing/index.ts'
import { testPostgres } from '../helper/postgres.ts'

testProvider(test, { provider: exampleProvider(), options: { delay_ms: 5 } })

const keyring = new Keyring()
testProvider(test, {
  provider: keyProvider(keyring, 'http://127.0.0.1'),
  options: { max_keys: 2 },
  update: { options: { max_keys: 3 } },
  works: async ({ key }) => keyring.ownerOf(String(key)) !== undefined
})

/** That of docs/providers.md, with its effects as steps. */
function folderProvider(root: string, fs: { mkdir: typeof mkdir; rm: typeof rm }): ServiceProvider {
  return {
    name: 'folders',
    options: Type.Object({}, { additionalProperties: false }),
    mode: 'sync',
    async provision(task) {
      const state = task.state ?? { folder: crypto.randomUUID() }
      await task.saveState(state)
      await fs.mkdir(join(root, String(state.folder)), { recursive: true })
      return {}
    },
    async deprovision(task) {
      if (task.state === undefined) return
      await fs.rm(join(root, String(task.state.folder)), { recursive: true, force: true })
    },
    async bind(task) {
      return { credentials: { path: join(root, String(task.instance.state?.folder)) } }
    },
    async unbind() {}
  }
}

const root = mkdtempSync(join(tmpdir(), 'osb-contract-'))
after(() => rmSync(root, { recursive: true, force: true }))
testProvider(test, { provider: folderProvider(root, wrap({ mkdir, rm })), leftovers: () => readdir(root) })

const { adminUrl } = await testPostgres()
const postgresql = postgresqlProvider({ adminUrl })
after(() => postgresql.stop?.())
await postgresql.start?.()
testProvider(test, {
  provider: postgresql,
  options: { connection_limit: 5, extensions: ['citext', 'hstore'] },
  parameters: { extensions: ['citext'] },
  update: {
    options: { connection_limit: 9, extensions: ['citext', 'hstore'] },
    parameters: { extensions: ['citext', 'hstore'] }
  },
  bindParameters: { role: 'owner' },
  // It does so for all plans.
  keepCredentials: false,
  works: ({ uri }) => connects(String(uri))
})

async function connects(connectionString: string): Promise<boolean> {
  const client = new Client({ connectionString })
  client.on('error', () => undefined)
  try {
    await client.connect()
    await client.query('SELECT 1')
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => undefined)
  }
}
