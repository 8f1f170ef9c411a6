import { Client, Pool, type QueryResult, type QueryResultRow } from 'pg'
import { Unavailable } from '../../src/core/provider.ts'

/** Database on the tenants' server that holds what the scripted provider makes. */
export const OUTSIDE_DATABASE = 'chaos_outside'

/** How long a statement may take, and until when it may take effect. */
export const STATEMENT_MS = 3_000

/** A resource that the scripted provider has made. */
export interface Made {
  readonly name: string
  readonly instanceId: string
  readonly bindingId: string | null
  readonly planId: string
  /** Whether the call that made it checked its fence first. */
  readonly fenced: boolean
}

/** What the scripted provider hands out: rows of a real table, behind the same network as everything else. */
export class Outside {
  readonly #pool: Pool

  constructor(adminUrl: string) {
    const url = new URL(adminUrl)
    url.pathname = `/${OUTSIDE_DATABASE}`
    this.#pool = new Pool({
      connectionString: url.toString(),
      max: 8,
      connectionTimeoutMillis: STATEMENT_MS,
      query_timeout: STATEMENT_MS,
      keepAlive: true
    })
    // The next statement reports a lost connection; without a listener it would end the process.
    this.#pool.on('error', () => undefined)
    this.#pool.on('connect', (client) => client.on('error', () => undefined))
  }

  /** The time of the server, as its text: what is later sent with it takes effect within {@link STATEMENT_MS} or never. */
  async now(): Promise<string> {
    const { rows } = await this.#query<{ now: string }>('SELECT clock_timestamp()::text AS now')
    const [row] = rows
    if (row === undefined) throw new Error('the server did not tell the time')
    return row.now
  }

  async make({ name, instanceId, bindingId, planId, fenced }: Made, since: string): Promise<void> {
    await this.#change(
      `INSERT INTO resources (name, instance_id, binding_id, plan_id, fenced)
      SELECT $3, $4, $5, $6, $7 WHERE ${IN_TIME}
      ON CONFLICT (name) DO UPDATE SET plan_id = excluded.plan_id, fenced = excluded.fenced
      RETURNING 1`,
      [since, STATEMENT_MS, name, instanceId, bindingId, planId, fenced]
    )
  }

  async change(name: string, planId: string, since: string): Promise<void> {
    await this.#change(`UPDATE resources SET plan_id = $4 WHERE name = $3 AND ${IN_TIME} RETURNING 1`, [
      since,
      STATEMENT_MS,
      name,
      planId
    ])
  }

  /** Succeeds when there is nothing of this name. */
  async remove(name: string, since: string): Promise<void> {
    await this.#change(
      `WITH gone AS (DELETE FROM resources WHERE name = $3 AND ${IN_TIME} RETURNING 1)
      SELECT 1 WHERE ${IN_TIME}`,
      [since, STATEMENT_MS, name]
    )
  }

  async names(): Promise<string[]> {
    const { rows } = await this.#query<{ name: string }>('SELECT name FROM resources')
    return rows.map(({ name }) => name)
  }

  async close(): Promise<void> {
    await this.#pool.end()
  }

  /** @throws {Unavailable} so that a request is answered 503 when it has no time for another try */
  async #query<Row extends QueryResultRow>(sql: string, values: unknown[] = []): Promise<QueryResult<Row>> {
    try {
      return await this.#pool.query<Row>(sql, values)
    } catch (error) {
      throw new Unavailable('The server of the resources cannot be used.', { cause: error })
    }
  }

  async #change(sql: string, values: unknown[]): Promise<void> {
    const { rowCount } = await this.#query(sql, values)
    if (rowCount !== 1) throw new Error('The statement came too late, or what it changes is gone.')
  }
}

/**
 * A statement that waited in a frozen connection must not take effect after its caller has given up, so it checks its age
 * on the server.
 */
const IN_TIME = `clock_timestamp() < $1::timestamptz + $2::int * interval '1 ms'`

/** Creates the table, in a database of its own. */
export async function prepareOutside(adminUrl: string): Promise<void> {
  const admin = new Client({ connectionString: adminUrl })
  await admin.connect()
  await admin.query(`CREATE DATABASE ${OUTSIDE_DATABASE} TEMPLATE template0`).finally(() => admin.end())
  const url = new URL(adminUrl)
  url.pathname = `/${OUTSIDE_DATABASE}`
  const client = new Client({ connectionString: url.toString() })
  await client.connect()
  await client
    .query(
      `CREATE TABLE resources (
        name text PRIMARY KEY,
        instance_id text NOT NULL,
        binding_id text,
        plan_id text NOT NULL,
        fenced boolean NOT NULL,
        made_at timestamptz NOT NULL DEFAULT clock_timestamp()
      )`
    )
    .finally(() => client.end())
}

/** Everything there is outside. */
export async function readOutside(adminUrl: string): Promise<Made[]> {
  const url = new URL(adminUrl)
  url.pathname = `/${OUTSIDE_DATABASE}`
  const client = new Client({ connectionString: url.toString() })
  await client.connect()
  try {
    const { rows } = await client.query<Made>(
      `SELECT name, instance_id AS "instanceId", binding_id AS "bindingId", plan_id AS "planId", fenced FROM resources`
    )
    return rows
  } finally {
    await client.end()
  }
}
