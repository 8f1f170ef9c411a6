import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Client } from 'pg'
import { startEmbeddedPostgres } from '../../../src/embedded-postgres/index.ts'
import { removeServer, temporaryDataDir } from '../../helper/postgres.ts'
import { type Cluster, startCluster } from './cluster.ts'
import { cleanUp, connect, scalar } from './support.ts'

/**
 * A server of one test file's own, which its tests may stop, crash and fill: the embedded one, or another major from the
 * programs in the folder that `TEST_POSTGRESQL_BIN` names.
 */
export class OwnServer {
  readonly dataDir: string
  readonly #settings: Record<string, string>
  #running: Cluster | undefined
  #adminUrl = ''

  constructor(settings: Record<string, string> = {}, dataDir = temporaryDataDir()) {
    this.dataDir = dataDir
    // Without `synchronous_commit: 'off'`: a crash would lose what was committed last
    this.#settings = { fsync: 'off', ...settings }
  }

  /** The superuser's; the same after each start. */
  get adminUrl(): string {
    return this.#adminUrl
  }

  /** Process id of the postmaster; from its file, because a supervisor hears of a new one later than clients may. */
  get pid(): number {
    return Number(readFileSync(join(this.clusterDir, 'postmaster.pid'), 'utf8').split('\n')[0])
  }

  get clusterDir(): string {
    if (this.#running === undefined) throw new Error('The server does not run.')
    return this.#running.clusterDir
  }

  /** Does nothing when it runs. */
  async start(): Promise<void> {
    this.#running ??= await this.#launch()
    this.#adminUrl = this.#running.adminUrl
  }

  /** Down until the test, or its end, starts it again. */
  async stop(t: TestContext): Promise<void> {
    cleanUp(t, () => this.start())
    await this.#stop()
  }

  /** As a power cut, and the start after it; also where its supervisor has given up. */
  async restart(): Promise<void> {
    await this.#stop()
    await this.start()
  }

  /** Ends it at once, without a checkpoint. Its supervisor starts it again, five times a minute. */
  crash(): void {
    process.kill(this.pid, 'SIGQUIT')
  }

  /** Stops a session's process until the answer is called, at the latest at the end of the test: others wait for it. */
  async freeze(t: TestContext): Promise<() => void> {
    const client = await connect(t, this.#adminUrl)
    const pid = Number(await scalar(client, 'SELECT pg_backend_pid()'))
    let frozen = true
    const thaw = () => {
      if (frozen) process.kill(pid, 'SIGCONT')
      frozen = false
    }
    process.kill(pid, 'SIGSTOP')
    cleanUp(t, thaw)
    return thaw
  }

  /** One statement of the superuser, on a connection of its own: others may be lost by now. */
  async sql(statement: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
    const client = new Client({ connectionString: this.#adminUrl })
    client.on('error', () => undefined)
    await client.connect()
    try {
      return (await client.query<Record<string, unknown>>(statement, values)).rows
    } finally {
      await client.end()
    }
  }

  /** Whether it takes connections. */
  async answers(): Promise<boolean> {
    return await this.sql('SELECT 1').then(
      () => true,
      () => false
    )
  }

  async remove(): Promise<void> {
    await this.#stop()
    removeServer(this.dataDir)
  }

  #launch(): Promise<Cluster> {
    const options = { dataDir: this.dataDir, settings: this.#settings }
    const bin = process.env.TEST_POSTGRESQL_BIN
    return bin === undefined ? startEmbeddedPostgres(options) : startCluster({ ...options, bin })
  }

  async #stop(): Promise<void> {
    const running = this.#running
    this.#running = undefined
    await running?.stop()
  }
}
