import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { removeServer, temporaryDataDir } from '../../test/helper/postgres.ts'
import { benchCatalog } from './catalog.ts'
import { move, type Place, startTarget, type Target } from './processes.ts'

const cli = fileURLToPath(new URL('../../src/cli/osb.js', import.meta.url))
const bare = fileURLToPath(new URL('../targets/bare.ts', import.meta.url))

/** How long and how often things are measured. */
export interface Pace {
  readonly rounds: number
  readonly seconds: number
  /** The short form: smaller amounts, so that all of it fits into a CI run. */
  readonly short: boolean
  /** How many rows are many, for the figures of growth. */
  readonly rows: number
}

/** A broker under test: the server that operators run, as a process of its own. */
export interface BrokerTarget extends Target {
  /** Of every request. */
  readonly headers: Readonly<Record<string, string>>
}

export interface BrokerOptions {
  readonly place?: Place
  /** What is run; default: the sources. */
  readonly program?: string
  readonly probed?: boolean
}

/** What a figure is measured with. All of it is gone at the end. */
export class Stage {
  readonly pace: Pace
  readonly #cleanUps: (() => Promise<void> | void)[] = []
  #postgres: Promise<EmbeddedPostgres> | undefined

  constructor(pace: Pace) {
    this.pace = pace
  }

  /** Runs at the end, last come first served. */
  cleanUp(work: () => Promise<void> | void): void {
    this.#cleanUps.push(work)
  }

  async close(): Promise<void> {
    for (const work of this.#cleanUps.splice(0).reverse()) await work()
    this.#postgres = undefined
  }

  /** A server as in production, fsync and all; one for all that a figure needs. */
  postgres(): Promise<EmbeddedPostgres> {
    this.#postgres ??= this.#startPostgres()
    return this.#postgres
  }

  async #startPostgres(): Promise<EmbeddedPostgres> {
    const dataDir = temporaryDataDir()
    const server = await startEmbeddedPostgres({ dataDir, settings: { max_connections: '200' } })
    move(server.pid, 'others')
    this.cleanUp(async () => {
      await server.stop()
      removeServer(dataDir)
    })
    return server
  }

  /** An empty database; answers its URL. */
  async database(name: string): Promise<string> {
    const { adminUrl, urlOf } = await this.postgres()
    await query(adminUrl, `CREATE DATABASE ${name} TEMPLATE template0`)
    return urlOf(name)
  }

  /** A folder that is gone at the end. */
  async folder(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'osb-bench-'))
    this.cleanUp(() => rm(path, { recursive: true, force: true }))
    return path
  }

  /** `osb serve`; the environment adds to what every broker here has. */
  async broker(more: Record<string, string>, options: BrokerOptions = {}): Promise<BrokerTarget> {
    const { place = 'server', program = cli, probed = false } = options
    const catalogPath = join(await this.folder(), 'catalog.json')
    await writeFile(catalogPath, JSON.stringify(benchCatalog))
    const password = randomBytes(12).toString('hex')
    const env = {
      BROKER_STORAGE: 'memory',
      BROKER_PORT: '0',
      BROKER_USERNAME: 'bench',
      BROKER_PASSWORD: password,
      BROKER_CATALOG_PATH: catalogPath,
      BROKER_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
      ...more
    }
    const listening = /^The broker listens on (http\S+) /
    const target = await startTarget([program, 'serve'], { place, env, listening, probed })
    this.cleanUp(() => target.stop())
    const authorization = `Basic ${Buffer.from(`bench:${password}`).toString('base64')}`
    return Object.assign(target, { headers: { authorization, 'x-broker-api-version': '2.17' } })
  }

  /** Plain Fastify: the routes that ours are compared with. */
  async bare(env: Record<string, string> = {}): Promise<Target> {
    const target = await startTarget([bare], { env })
    this.cleanUp(() => target.stop())
    return target
  }
}

/** Rows of one statement, on a connection of its own. */
export async function query(url: string, text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(text, values)).rows
  } finally {
    await client.end()
  }
}
