import { randomBytes } from 'node:crypto'
import { Client } from 'pg'
import { postgresqlProvider } from '../../src/providers/postgresql/index.ts'
import { Instance } from '../../test/providers/postgresql/support.ts'

/** What the provider says to the server to make one database: each statement, and in which database. */
export interface Recording {
  readonly token: string
  readonly statements: readonly Statement[]
}

interface Statement {
  readonly database: string
  readonly text: string
  readonly values: readonly unknown[]
}

/** Makes two databases, the second with an ear on every connection. */
export async function recordStatements(adminUrl: string): Promise<Recording> {
  const provider = postgresqlProvider({ adminUrl })
  const original = Client.prototype.query
  const statements: Statement[] = []
  try {
    // The first prepares the server, which is no part of a provision
    await new Instance(provider).provision()
    Client.prototype.query = function (this: Client & { database?: string }, ...args: unknown[]) {
      const [query, values] = args
      const text = typeof query === 'string' ? query : String((query as { text?: unknown }).text)
      const own = typeof query === 'object' && query !== null && 'values' in query ? query.values : values
      statements.push({ database: this.database ?? '', text, values: Array.isArray(own) ? own : [] })
      return Reflect.apply(original, this, args)
    } as typeof original
    const instance = new Instance(provider)
    await instance.provision()
    return { token: instance.token, statements }
  } finally {
    Client.prototype.query = original
    await provider.stop?.()
  }
}

/** The connection in the maintenance database that each hand keeps, as the provider keeps its own. */
const kept = new Map<string, Client[]>()

/** Says the same for another database: one connection that is kept, and a new one in the database that is made. */
export async function replay({ token, statements }: Recording, adminUrl: string): Promise<void> {
  const other = Array.from(randomBytes(20), (byte) => 'abcdefghijklmnopqrstuvwxyz234567'[byte % 32]).join('')
  const renamed = (text: string) => text.replaceAll(token, other)
  const idle = kept.get(adminUrl) ?? []
  kept.set(adminUrl, idle)
  const maintenance = idle.pop() ?? (await connected(adminUrl))
  const tenants = new Map<string, Client>()
  try {
    for (const { database, text, values } of statements) {
      const own = database.includes(token)
      const name = renamed(database)
      const client = own ? (tenants.get(name) ?? (await connected(inDatabase(adminUrl, name)))) : maintenance
      if (own) tenants.set(name, client)
      await client.query(renamed(text), renamedValues(values, renamed))
    }
  } finally {
    await Promise.all([...tenants.values()].map((client) => client.end()))
    idle.push(maintenance)
  }
}

/** Ends what {@link replay} has kept. */
export async function endReplays(): Promise<void> {
  for (const clients of kept.values()) await Promise.all(clients.splice(0).map((client) => client.end()))
}

function renamedValues(values: readonly unknown[], renamed: (text: string) => string): unknown[] {
  return values.map((value) => {
    if (typeof value === 'string') return renamed(value)
    return Array.isArray(value) ? renamedValues(value, renamed) : value
  })
}

async function connected(connectionString: string): Promise<Client> {
  const client = new Client({ connectionString })
  client.on('error', () => undefined)
  await client.connect()
  return client
}

function inDatabase(adminUrl: string, database: string): string {
  return Object.assign(new URL(adminUrl), { pathname: `/${database}` }).href
}
