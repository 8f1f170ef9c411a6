import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { chown, copyFile, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Client } from 'pg'
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { temporaryDataDir } from './postgres.ts'

/** One of the two servers. */
export interface Node {
  readonly port: number
  /** URL of the superuser for a database of this one server. */
  urlOf(database: string): string
  /** Rows of one statement, as the superuser, in the database `postgres`. */
  sql(statement: string, values?: unknown[]): Promise<Record<string, unknown>[]>
}

/**
 * A primary and a standby that follows it by streaming replication, both real servers on 127.0.0.1. They are gone, with their
 * folders, when the process ends.
 */
export interface Replication {
  /** The server that takes writes; the other one after {@link promote}. */
  readonly primary: Node
  readonly standby: Node
  /** A connection URL with both hosts and `target_session_attrs=read-write`; the same whichever of them is the primary. */
  urlOf(database: string): string
  /** Creates an empty database on both, and returns its URL with both hosts. */
  createDatabase(): Promise<string>
  /**
   * Ends the primary and all its processes with SIGKILL. It stays down: a test promotes the standby, and may then call
   * {@link rebuild}.
   */
  killPrimary(): Promise<void>
  /** Makes the standby the primary; its commits wait for nobody until {@link rebuild}. Resolves when it takes writes. */
  promote(): Promise<void>
  /** Makes a new standby, from a copy of the primary, of the server that {@link killPrimary} has ended. The primary may have load. */
  rebuild(): Promise<void>
  /** Stops all processes of the standby (SIGSTOP), so that a commit of the primary waits for it. {@link thawStandby} ends that. */
  freezeStandby(): void
  thawStandby(): void
  /** Ends both servers. */
  close(): Promise<void>
}

export interface ReplicationOptions {
  /** Whether a commit waits until the standby has it on its disk; default true. */
  readonly synchronous?: boolean
  /** Further settings of both servers, as in postgresql.conf. */
  readonly settings?: Record<string, string>
}

const STANDBY = 'osb_standby'
const run = promisify(execFile)

/** Starts both servers; resolves when the standby follows and, where commits wait for it, they do. */
export async function startReplication({
  synchronous = true,
  settings = {}
}: ReplicationOptions = {}): Promise<Replication> {
  // Both end with SIGKILL and not with the machine, so nothing has to reach the disk.
  const common = { fsync: 'off', wal_keep_size: '256MB', hot_standby: 'on', ...settings }
  const folders = { primary: temporaryDataDir(), standby: temporaryDataDir() }
  let primary: EmbeddedPostgres = await startEmbeddedPostgres({ dataDir: folders.primary, settings: common })
  let standby: EmbeddedPostgres = await startEmbeddedPostgres({ dataDir: folders.standby, settings: common })
  const ports = [primary.port, standby.port]
  const frozen = new Set<number>()
  const thaw = () => {
    for (const pid of frozen) signal(pid, 'SIGCONT')
    frozen.clear()
  }
  // A process that is stopped would outlive the server that it belongs to.
  process.once('exit', thaw)

  /** Brings a copy of the running primary into the folder of the standby, and starts that. */
  const follow = async () => {
    await standby.stop()
    await copyCluster(primary, standby)
    await copyFile(join(folders.primary, 'password'), join(folders.standby, 'password'))
    const { password, username, hostname, port } = new URL(primary.adminUrl)
    const conninfo = `host=${hostname} port=${port} user=${username} password=${password} application_name=${STANDBY}`
    const following = { ...common, primary_conninfo: conninfo, wal_retrieve_retry_interval: '100ms' }
    standby = await startEmbeddedPostgres({ dataDir: folders.standby, settings: following })
    await until('the standby follows', async () => (await stateOfStandby(primary)) === 'streaming')
    if (!synchronous) return
    await sql(primary, `ALTER SYSTEM SET synchronous_standby_names = '${STANDBY}'`)
    await sql(primary, 'SELECT pg_reload_conf()')
    await until('commits wait for the standby', async () => (await stateOfStandby(primary, 'sync_state')) === 'sync')
  }
  await follow()

  const urlOf = (database: string) => {
    const url = new URL(primary.urlOf(database))
    const hosts = ports.map((port) => `127.0.0.1:${port}`).join(',')
    return `postgresql://${url.username}:${url.password}@${hosts}${url.pathname}?target_session_attrs=read-write`
  }
  let databases = 0
  return {
    get primary() {
      return nodeOf(primary)
    },
    get standby() {
      return nodeOf(standby)
    },
    urlOf,
    async createDatabase() {
      databases += 1
      const name = `replicated_${process.pid}_${databases}`
      await sql(primary, `CREATE DATABASE ${name} TEMPLATE template0`)
      return urlOf(name)
    },
    async killPrimary() {
      for (const pid of familyOf(primary.pid)) signal(pid, 'SIGKILL')
      // At once: its supervisor would start it again.
      await primary.stop()
    },
    async promote() {
      await sql(standby, 'SELECT pg_promote(true, 60)')
      ;[primary, standby] = [standby, primary]
      ;[folders.primary, folders.standby] = [folders.standby, folders.primary]
      await until('the new primary takes writes', async () => {
        const [row] = await sql(primary, 'SELECT pg_is_in_recovery() AS recovery')
        return row?.recovery === false
      })
    },
    rebuild: follow,
    freezeStandby() {
      for (const pid of familyOf(standby.pid)) {
        signal(pid, 'SIGSTOP')
        frozen.add(pid)
      }
    },
    thawStandby: thaw,
    async close() {
      thaw()
      process.off('exit', thaw)
      await Promise.all([primary.stop(), standby.stop()])
    }
  }
}

function nodeOf(server: EmbeddedPostgres): Node {
  return {
    port: server.port,
    urlOf: (database) => server.urlOf(database),
    sql: (statement, values) => sql(server, statement, values)
  }
}

async function sql({ adminUrl }: EmbeddedPostgres, statement: string, values: unknown[] = []) {
  const client = new Client({ connectionString: adminUrl, connectionTimeoutMillis: 10_000 })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(statement, values)).rows
  } finally {
    await client.end()
  }
}

async function stateOfStandby(primary: EmbeddedPostgres, column: 'state' | 'sync_state' = 'state') {
  const [row] = await sql(primary, `SELECT ${column} AS state FROM pg_stat_replication WHERE application_name = $1`, [
    STANDBY
  ])
  return row?.state
}

/** As `pg_basebackup` does it, which the embedded server has not: what the WAL between start and stop changes is replayed. */
async function copyCluster(primary: EmbeddedPostgres, { clusterDir }: EmbeddedPostgres): Promise<void> {
  const client = new Client({ connectionString: primary.adminUrl })
  await client.connect()
  try {
    await client.query(`SELECT pg_backup_start('standby', true)`)
    await rm(clusterDir, { recursive: true, force: true })
    // Files that are gone before `cp` gets to them are missing in the copy, and are made again by the replay.
    await run('cp', ['-a', primary.clusterDir, clusterDir]).catch(() => undefined)
    const { rows } = await client.query<{ labelfile: string }>('SELECT labelfile FROM pg_backup_stop(false)')
    const { uid, gid } = await stat(join(primary.clusterDir, 'PG_VERSION'))
    for (const [name, content] of [
      ['backup_label', rows[0]?.labelfile ?? ''],
      ['standby.signal', ''],
      // Its own commits wait for nobody once it is promoted.
      ['postgresql.auto.conf', '']
    ] as const) {
      const file = join(clusterDir, name)
      await writeFile(file, content, { mode: 0o600 })
      await chown(file, uid, gid)
    }
    for (const name of ['postmaster.pid', 'postmaster.opts']) await rm(join(clusterDir, name), { force: true })
  } finally {
    await client.end()
  }
}

/** A process and its children. */
function familyOf(pid: number): number[] {
  const children = readdirSync('/proc').filter((name) => {
    const file = `/proc/${name}/stat`
    // pid (name) state ppid …; the name may have spaces and brackets
    return /^\d+$/.test(name) && existsSync(file) && Number(readStat(file).split(' ')[1]) === pid
  })
  return [pid, ...children.map(Number)]
}

function readStat(file: string): string {
  try {
    return readFileSync(file, 'utf8').replace(/^.*\) /s, '')
  } catch {
    // It has ended meanwhile.
    return ''
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

async function until(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + 60_000; !(await condition()); await delay(50)) {
    if (Date.now() > end) throw new Error(`waited 60 s in vain: ${what}`)
  }
}
