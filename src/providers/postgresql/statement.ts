import type { ClientBase, Pool, QueryResultRow } from 'pg'
import { durations, errorType, inCallSpan, SECONDS_OF_CALLS, secondsSince } from '../../telemetry/index.ts'

/** Runs one statement and answers its rows. */
export type Query = <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) => Promise<Row[]>

/** What a statement may be about; longer ones first. */
const OBJECTS = 'DEFAULT PRIVILEGES|OWNED|DATABASE|EXTENSION|SCHEMA|ROLE|TABLE|SEQUENCE|FUNCTION|VIEW|TYPE|USER'
const SUMMARY = new RegExp(
  `^\\s*(?:--[^\\n]*\\n\\s*)*(?:(CREATE|ALTER|DROP|REASSIGN|SET|RESET) (?:TEMPORARY )?(${OBJECTS})\\b|([A-Z]+)\\b)`,
  'i'
)

/**
 * A statement as its span and the metrics call it: verb and kind of object, `CREATE ROLE`. Its text is in neither, because
 * of verifiers of passwords in it, and of names that are different for each instance.
 */
export function summaryOf(sql: string): string {
  const [, verb, object, alone] = SUMMARY.exec(sql) ?? []
  if (verb !== undefined && object !== undefined) return `${verb} ${object}`.toUpperCase()
  return alone?.toUpperCase() ?? 'OTHER'
}

/** Watches the statements on a server: each is a span of the trace that it belongs to, and its duration is measured. */
export class Statements {
  readonly #server: string
  readonly #durations = durations(
    'db.client.operation.duration',
    'What a statement of the provider postgresql took',
    SECONDS_OF_CALLS
  )

  constructor(server: string) {
    this.#server = server
  }

  /** The way to run statements on a connection, or on one of a pool. */
  on(client: Pick<ClientBase | Pool, 'query'>): Query {
    return <Row extends QueryResultRow>(sql: string, values?: readonly unknown[]) =>
      this.#watch(sql, async () => {
        // Without values it is a simple query, the only kind that takes DDL of every sort
        const running = values === undefined ? client.query<Row>(sql) : client.query<Row>(sql, [...values])
        return (await running).rows
      })
  }

  async #watch<T>(sql: string, run: () => Promise<T>): Promise<T> {
    const summary = summaryOf(sql)
    const labels = {
      'db.system.name': 'postgresql',
      'db.operation.name': summary,
      'osb.postgresql.server': this.#server
    }
    const began = performance.now()
    let failure: { 'error.type'?: string } = {}
    try {
      return await inCallSpan(summary, labels, run)
    } catch (error) {
      failure = { 'error.type': errorType(error) }
      throw error
    } finally {
      this.#durations.record(secondsSince(began), { ...labels, ...failure })
    }
  }
}
