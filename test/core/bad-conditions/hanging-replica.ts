import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import Fastify from 'fastify'
import { openServiceBroker } from '../../../src/app.ts'
import { serverOptions } from '../../../src/server.ts'
import { credentials, testCatalog, whenBegun } from '../../helper/app.ts'
import { type AnyTask, ScriptedProvider } from '../../helper/scripted-provider.ts'

/** A replica in a process of its own. Its provider never ends a deprovision or an unbind. */
export interface HangingReplica {
  readonly url: string
  /** Waits until the provider has been called for so many deletes. */
  hangs(deletes: number): Promise<void>
  /** Ends the process without a chance to clean up. */
  kill(): Promise<void>
}

interface Database {
  readonly url: string
  readonly encryptionKeys: string
}

/** Starts a replica on a database. It is gone after the test. */
export async function hangingReplica(t: TestContext, database: Database): Promise<HangingReplica> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), JSON.stringify(database)], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  const ended = once(child, 'close')
  const kill = async () => {
    child.kill('SIGKILL')
    await ended
  }
  t.after(kill)
  const said = linesOf(child)
  const url = await said.next()
  return {
    url,
    hangs: async (deletes) => {
      for (let count = 0; count < deletes; count += 1) await said.next()
    },
    kill
  }
}

function linesOf({ stdout }: ChildProcess): { next(): Promise<string> } {
  if (stdout === null) throw new Error('the process has no output')
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  return {
    next: async () => {
      const { value, done } = await lines.next()
      if (done === true) throw new Error('the replica ended')
      return value
    }
  }
}

async function serve(database: Database): Promise<void> {
  // Ends with the test process, however that ends.
  process.stdin.resume().once('close', () => process.exit())
  const say = (line: string) => process.stdout.write(`${line}\n`)
  const hang = async ({ instanceId }: AnyTask) => {
    say(instanceId)
    await new Promise<never>(() => {})
  }
  const app = Fastify({ ...serverOptions, logger: false })
  await app.register(openServiceBroker, {
    catalog: testCatalog(),
    auth: credentials,
    providers: [new ScriptedProvider({ deprovision: hang, unbind: hang })],
    store: { connectionString: database.url },
    encryptionKeys: database.encryptionKeys,
    syncDeadlineMs: 60_000
  })
  const url = await app.listen({ port: 0, host: '127.0.0.1' })
  await whenBegun(app)
  say(url)
}

if (import.meta.main) await serve(JSON.parse(process.argv[2] ?? '{}'))
