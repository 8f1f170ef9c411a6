import { randomBytes } from 'node:crypto'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { httpTransport, OsbClient } from '../../src/client/index.ts'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { hashPassword } from '../../src/platforms/index.ts'
import { freePort, Replica } from '../chaos/replicas.ts'
import { endReplicas, removeServer, STATE_DATABASE } from '../chaos/scene.ts'
import type { Admin } from './options.ts'

export const SERVICE = 'hostile-databases'
/** What honest tenants begin with, what they update to, and what the attacks on the storage quota use. */
export const PLANS = { small: 'hostile-plan', large: 'hostile-plan-large', quota: 'hostile-plan-quota' } as const

const READY_MS = 60_000
const LOOK_MS = 100

/** Two platforms, replicas of a broker, and one server for the tenants' databases and for the broker's own state. */
export interface HostileScene {
  readonly replicas: readonly Replica[]
  readonly folder: string
  /** A client of the platform, at one replica after the other. */
  client(platform: 'honest' | 'hostile'): OsbClient
  /** Rows of a superuser's query, on a connection that is open before anybody attacks. */
  readonly sql: (statement: string, values?: unknown[]) => Promise<Record<string, unknown>[]>
  close(options: { keep: boolean }): Promise<void>
}

function plan(name: keyof typeof PLANS, options: Record<string, unknown>) {
  return { id: PLANS[name], name, description: name, 'x-broker': { options } }
}

const catalog = {
  services: [
    {
      id: SERVICE,
      name: 'databases',
      description: 'Databases of one server',
      bindable: true,
      bindings_retrievable: true,
      plan_updateable: true,
      'x-broker': { provider: 'postgresql' },
      plans: [
        plan('small', { connection_limit: 10 }),
        plan('large', { connection_limit: 15 }),
        plan('quota', { connection_limit: 10, storage_quota: '12MB' })
      ]
    }
  ]
}

export async function openHostileScene({
  admin,
  replicas: count
}: {
  admin: Admin
  replicas: number
}): Promise<HostileScene> {
  const folder = await mkdtemp(join(tmpdir(), 'osb-hostile-'))
  // Prepared transactions are off by default. They belong to the attacks on servers that allow them.
  const settings = { fsync: 'off', max_prepared_transactions: '8' }
  const postgres = await startEmbeddedPostgres({ dataDir: join(folder, 'postgresql'), settings })
  const root = new Client({ connectionString: postgres.adminUrl })
  root.on('error', () => undefined)
  await root.connect()
  // An attack may lock what the questions of the harness read.
  await root.query(`SET lock_timeout = '2s'`)
  const sql = async (statement: string, values?: unknown[]) => (await root.query(statement, values)).rows
  const passwords = { honest: secret(), hostile: secret() }
  const catalogPath = join(folder, 'catalog.json')
  await writeFile(catalogPath, JSON.stringify(catalog))
  const platformsPath = join(folder, 'platforms.json')
  await writeFile(platformsPath, JSON.stringify(await platformsFile(passwords)))
  const environment = {
    PATH: process.env.PATH,
    BROKER_STORAGE: 'postgres',
    BROKER_PLATFORMS_FILE: platformsPath,
    BROKER_CATALOG_PATH: catalogPath,
    BROKER_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    DATABASE_URL: await stateUrl(sql, postgres),
    POSTGRESQL_ADMIN_URL: admin === 'superuser' ? postgres.adminUrl : await plainAdminUrl(sql, postgres)
  }
  const replicas: Replica[] = []
  for (let index = 0; index < count; index += 1) {
    replicas.push(new Replica(`replica-${index + 1}`, await freePort(), { environment, folder }))
  }
  await Promise.all(replicas.map((replica) => replica.start()))
  await Promise.all(replicas.map(ready))
  return {
    replicas,
    folder,
    sql,
    client: (platform) => clientOf(replicas, platform, passwords[platform]),
    close: async ({ keep }) => {
      await endReplicas(replicas)
      await root.end()
      await removeServer(postgres, folder, keep)
      if (!keep) await rm(folder, { recursive: true, force: true })
    }
  }
}

/** It listens before it can serve. */
async function ready({ name, url }: Replica): Promise<void> {
  for (const end = Date.now() + READY_MS; ; await sleep(LOOK_MS)) {
    const answer = await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(READY_MS) }).catch(() => undefined)
    if (answer?.ok === true) return
    if (Date.now() > end) throw new Error(`${name} is not ready after ${READY_MS} ms`)
  }
}

/** Requests go to the replicas in turn, as behind a load balancer. */
function clientOf(replicas: readonly Replica[], username: string, password: string): OsbClient {
  const transports = replicas.map(({ url }) => httpTransport({ url }))
  let next = 0
  return new OsbClient({
    username,
    password,
    transport: (request, signal) => {
      const transport = transports[next % transports.length]
      next += 1
      if (transport === undefined) throw new Error('There is no replica.')
      return transport(request, signal)
    }
  })
}

function secret(): string {
  return randomBytes(12).toString('hex')
}

async function platformsFile(passwords: Record<string, string>) {
  const entries = await Promise.all(
    Object.entries(passwords).map(async ([username, password]) => {
      return [username, { basic: [{ username, password_hash: await hashPassword(password) }] }] as const
    })
  )
  return { platforms: Object.fromEntries(entries) }
}

/** The state belongs to a role of its own, as `docs/postgresql.md` wants it. */
async function stateUrl(sql: HostileScene['sql'], postgres: EmbeddedPostgres): Promise<string> {
  await sql(`CREATE ROLE osb_state LOGIN PASSWORD 'state'`)
  await sql(`CREATE DATABASE ${STATE_DATABASE} OWNER osb_state TEMPLATE template0`)
  await sql(`REVOKE CONNECT, TEMPORARY ON DATABASE ${STATE_DATABASE} FROM PUBLIC`)
  return as('osb_state', 'state', postgres.urlOf(STATE_DATABASE))
}

async function plainAdminUrl(sql: HostileScene['sql'], postgres: EmbeddedPostgres): Promise<string> {
  await sql(`CREATE ROLE broker_admin LOGIN CREATEDB CREATEROLE PASSWORD 'admin'`)
  await sql('REVOKE CONNECT, TEMPORARY ON DATABASE postgres, template1 FROM PUBLIC')
  await sql('GRANT CONNECT ON DATABASE postgres TO broker_admin')
  await sql('GRANT pg_signal_backend, pg_use_reserved_connections TO broker_admin')
  return as('broker_admin', 'admin', postgres.urlOf('postgres'))
}

function as(username: string, password: string, href: string): string {
  return Object.assign(new URL(href), { username, password }).href
}
