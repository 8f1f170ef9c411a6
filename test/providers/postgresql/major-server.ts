import { existsSync, globSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { temporaryDataDir } from '../../helper/postgres.ts'
import { type Cluster, startCluster } from './cluster.ts'

/** A server with the programs of its own major version, gone with the test process at the latest. */
export interface MajorServer {
  /** The folder of pg_dump and pg_restore. */
  readonly bin: string
  /** URL of the superuser. */
  readonly adminUrl: string
}

let started: Promise<(MajorServer & Cluster) | undefined> | undefined

/** Starts a server from the first folder, of `PG_BIN_DIRS` or of Debian, that has a server and a pg_dump. Undefined without one. */
export function majorServer(): Promise<MajorServer | undefined> {
  started ??= start()
  return started
}

/** Stops the server if a test has started it. */
export async function stopMajorServer(): Promise<void> {
  await (await started)?.stop()
}

async function start(): Promise<(MajorServer & Cluster) | undefined> {
  const folders = [...(process.env.PG_BIN_DIRS ?? '').split(delimiter), ...globSync('/usr/lib/postgresql/*/bin')]
  const complete = (bin: string) =>
    ['initdb', 'postgres', 'pg_dump', 'pg_restore'].every((one) => existsSync(join(bin, one)))
  const bin = folders.find((folder) => folder !== '' && complete(folder))
  if (bin === undefined) return undefined
  const settings = { fsync: 'off', max_prepared_transactions: '4', max_locks_per_transaction: '16' }
  return { bin, ...(await startCluster({ bin, dataDir: temporaryDataDir(), settings })) }
}
