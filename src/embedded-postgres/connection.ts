import { Client, escapeIdentifier } from 'pg'
import { host } from './port.ts'

/** How to reach the server as its superuser. */
export interface Access {
  port: number
  password: string
}

export const superuser = 'postgres'

export function urlOf({ port, password }: Access, database: string): string {
  // Not encodeURIComponent: pg leaves what that encodes beyond encodeURI as it is, so that "a&b" would become "a%26b".
  const path = encodeURI(database).replace(/[?#]/g, encodeURIComponent)
  return `postgresql://${superuser}:${encodeURIComponent(password)}@${host}:${port}/${path}`
}

/** The folder of the cluster that answers at this port, which proves that it is ours. */
export async function askDataDirectory(access: Access): Promise<string | undefined> {
  return await withClient(access, async (client) => {
    const result = await client.query<{ data_directory: string }>('SHOW data_directory')
    return result.rows[0]?.data_directory
  })
}

/** Creates the databases that are missing. */
export async function ensureDatabases(access: Access, names: readonly string[]): Promise<void> {
  if (names.length === 0) return
  await withClient(access, async (client) => {
    for (const name of names) {
      const { rowCount } = await client.query('SELECT FROM pg_database WHERE datname = $1', [name])
      // template0 always has the plain state; someone may have put things into template1.
      if (rowCount === 0) await client.query(`CREATE DATABASE ${escapeIdentifier(name)} TEMPLATE template0`)
    }
  })
}

/** Timeouts, because a stopped server (SIGSTOP) accepts connections but neither answers nor closes them. */
const ANSWER_MS = 60_000
const GOODBYE_MS = 1_000

async function withClient<Result>(access: Access, work: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({
    host,
    port: access.port,
    user: superuser,
    password: access.password,
    database: 'postgres',
    ssl: false,
    application_name: 'osb-embedded-postgres',
    connectionTimeoutMillis: 5_000,
    query_timeout: ANSWER_MS,
    keepAlive: true
  })
  client.on('error', () => undefined) // the query in progress fails with it; without a listener the process would end
  try {
    await client.connect()
    return await work(client)
  } finally {
    const late = setTimeout(() => client.connection.stream.destroy(), GOODBYE_MS)
    await client.end().finally(() => clearTimeout(late))
  }
}
