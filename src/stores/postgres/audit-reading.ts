import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import type { OriginatingIdentity } from '../../core/provider.ts'
import { hasText, identitiesWith, identityKey } from './audit-identities.ts'
import { optional } from './rows.ts'
import { type Tables, tablesOf } from './schema.ts'
import { readOnly } from './transactions.ts'

export const auditActions = ['provision', 'update', 'deprovision', 'bind', 'unbind', 'repair', 'guard'] as const
export const auditOutcomes = ['started', 'succeeded', 'failed', 'halted'] as const

/** One audit event, under the names that `osb audit --json` has. */
export interface AuditEvent {
  /** In UTC, to the microsecond. */
  readonly at: string
  readonly event_id: string
  readonly platform: string
  readonly originating_identity?: OriginatingIdentity
  readonly request_identity?: string
  readonly action: (typeof auditActions)[number]
  readonly outcome: (typeof auditOutcomes)[number]
  /** The broker did it by itself. */
  readonly internal: boolean
  readonly instance_id: string
  readonly binding_id?: string
  readonly operation_id?: string
  readonly service_id?: string
  readonly plan_id?: string
  readonly description?: string
}

/** Which events are wanted: those that all of it is true of. */
export interface AuditFilter {
  readonly platform?: string | undefined
  readonly instance?: string | undefined
  readonly binding?: string | undefined
  /** Any of them. */
  readonly actions?: readonly string[] | undefined
  /** Any of them. */
  readonly outcomes?: readonly string[] | undefined
  /** Is in a value of the originating identity, in upper or lower case. */
  readonly user?: string | undefined
  readonly request?: string | undefined
  /** The first moment that is wanted. */
  readonly since?: Date | undefined
  /** The first that is not. */
  readonly until?: Date | undefined
}

/** The place of an event in the order of all. */
type Place = Pick<AuditEvent, 'at' | 'event_id'>

interface EventRow extends Place {
  readonly platform: string
  readonly originating_identity: OriginatingIdentity | null
  readonly request_identity: string | null
  readonly action: AuditEvent['action']
  readonly outcome: AuditEvent['outcome']
  readonly internal: boolean
  readonly instance_id: string
  readonly binding_id: string | null
  readonly operation_id: string | null
  readonly service_id: string | null
  readonly plan_id: string | null
  readonly description: string | null
}

/** Events that one statement reads. */
const PAGE = 1_000

/**
 * How long an event that is older than others may still appear: it has its time before the transaction that it is part
 * of commits, and those are given up after 5 s.
 */
const LATE_SECONDS = 15
const POLL_MS = 1_000

/** So that as text it has the order that it has as a time. */
const textOf = (time: string) => `to_char(${time} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`
const COLUMNS = `${textOf('e.at')} AS at, e.event_id, e.platform, e.originating_identity, e.request_identity, e.action,
  e.phase AS outcome, e.internal, e.instance_id, e.binding_id, e.operation_id, e.service_id, e.plan_id, e.description`

/**
 * Reads the audit of a database. Each page is a transaction of its own, so that a reader who takes their time keeps no
 * snapshot open. The order is that of an index: nothing is sorted, and no more than a page is held.
 */
export class AuditReader {
  readonly #pool: Pool
  readonly #tables: Tables
  readonly #filter: AuditFilter

  constructor(pool: Pool, filter: AuditFilter = {}, schema?: string) {
    this.#pool = pool
    this.#tables = tablesOf(schema)
    this.#filter = filter
  }

  /** What is there now in pages, the oldest first; with a limit only the newest so many. */
  async *pages(limit?: number): AsyncGenerator<AuditEvent[]> {
    const { user } = this.#filter
    const identities = user === undefined ? undefined : await identitiesWith(this.#pool, this.#tables, user)
    const newest = await this.#fromTheEnd(1, identities)
    if (newest === undefined) return
    const oldest = limit === undefined ? undefined : await this.#fromTheEnd(limit, identities)
    yield* this.#scan({ from: oldest, to: newest, identities })
  }

  /** The same, and then what comes, as it is committed. Does not end by itself. */
  async *follow(limit?: number): AsyncGenerator<AuditEvent[]> {
    const seen = new Map<string, string>()
    const note = (page: AuditEvent[]) => {
      for (const { event_id, at } of page) seen.set(event_id, at)
    }
    let from = await this.#late()
    for await (const page of this.#scan({ from })) note(page)
    for await (const page of this.pages(limit)) {
      note(page.filter(({ at }) => at >= from.at))
      yield page
    }
    while (true) {
      await sleep(POLL_MS)
      const next = await this.#late()
      for await (const page of this.#scan({ from })) {
        const fresh = page.filter(({ event_id }) => !seen.has(event_id))
        note(fresh)
        if (fresh.length > 0) yield fresh
      }
      for (const [eventId, at] of seen) if (at < next.at) seen.delete(eventId)
      from = next
    }
  }

  /** Before this nothing will appear that is not there. */
  async #late(): Promise<Place> {
    const text = `SELECT ${textOf(`(clock_timestamp() - interval '${LATE_SECONDS} s')`)} AS at, '0' AS event_id`
    const [row] = await readOnly<Place>(this.#pool, text)
    if (row === undefined) throw new Error('The clock of the database gave no answer.')
    return row
  }

  async *#scan({ from, to, identities }: Scan): AsyncGenerator<AuditEvent[]> {
    let start: Place | undefined = from
    for (let bound: '>=' | '>' = '>='; ; bound = '>') {
      const { conditions, bind, values } = conditionsOf(this.#filter)
      const place = ({ at, event_id }: Place) => `(${bind(at)}::timestamptz, ${bind(event_id)}::bigint)`
      if (start !== undefined) conditions.push(`(e.at, e.event_id) ${bound} ${place(start)}`)
      if (to !== undefined) conditions.push(`(e.at, e.event_id) <= ${place(to)}`)
      const source = this.#source({ conditions, bind, identities, direction: 'ASC', count: PAGE })
      const rows = await readOnly<EventRow>(
        this.#pool,
        `SELECT ${COLUMNS} FROM ${source} ORDER BY e.at, e.event_id LIMIT ${PAGE}`,
        values
      )
      if (rows.length > 0) yield rows.map(eventFrom)
      start = rows.at(-1)
      if (rows.length < PAGE) return
    }
  }

  /** The place of the event that so many are at or behind; undefined where there are fewer. */
  async #fromTheEnd(count: number, identities: readonly string[] | undefined): Promise<Place | undefined> {
    const { conditions, bind, values } = conditionsOf(this.#filter)
    const source = this.#source({ conditions, bind, identities, direction: 'DESC', count })
    const [row] = await readOnly<Place>(
      this.#pool,
      `SELECT ${textOf('e.at')} AS at, e.event_id FROM ${source}
      ORDER BY e.at DESC, e.event_id DESC LIMIT 1 OFFSET ${bind(count - 1)}`,
      values
    )
    return row
  }

  /** The first events that keep the conditions, as a part of FROM; of some identities, as many of each. */
  #source({ conditions, bind, identities, direction, count }: Source): string {
    const { auditEvents } = this.#tables
    const some = (more: string) => `(SELECT * FROM ${auditEvents} AS e WHERE ${conditions.join(' AND ')}${more}
      ORDER BY e.at ${direction}, e.event_id ${direction} LIMIT ${bind(count)}) AS e`
    if (identities === undefined) return some('')
    return `unnest(${bind(identities)}::bigint[]) AS wanted (key)
      CROSS JOIN LATERAL ${some(` AND e.originating_identity IS NOT NULL AND ${identityKey} = wanted.key`)}`
  }
}

interface Scan {
  readonly from?: Place | undefined
  readonly to?: Place
  /** Of {@link identitiesWith}; undefined: by the filter alone. */
  readonly identities?: readonly string[] | undefined
}

interface Source {
  readonly conditions: readonly string[]
  readonly bind: (value: unknown) => string
  readonly identities: readonly string[] | undefined
  readonly direction: 'ASC' | 'DESC'
  readonly count: number
}

function conditionsOf(filter: AuditFilter) {
  const values: unknown[] = []
  const bind = (value: unknown) => `$${values.push(value)}`
  const conditions = ['true']
  const require = (value: unknown, condition: (place: string) => string) => {
    if (value !== undefined) conditions.push(condition(bind(value)))
  }
  require(filter.platform, (place) => `e.platform = ${place}`)
  require(filter.instance, (place) => `e.instance_id = ${place}`)
  require(filter.binding, (place) => `e.binding_id = ${place}`)
  require(filter.request, (place) => `e.request_identity = ${place}`)
  require(filter.actions, (place) => `e.action = ANY (${place})`)
  require(filter.outcomes, (place) => `e.phase = ANY (${place})`)
  require(filter.since, (place) => `e.at >= ${place}::timestamptz`)
  require(filter.until, (place) => `e.at < ${place}::timestamptz`)
  require(filter.user, hasText)
  return { conditions, bind, values }
}

function eventFrom(row: EventRow): AuditEvent {
  return {
    at: row.at,
    event_id: row.event_id,
    platform: row.platform,
    ...optional('originating_identity', row.originating_identity),
    ...optional('request_identity', row.request_identity),
    action: row.action,
    outcome: row.outcome,
    internal: row.internal,
    instance_id: row.instance_id,
    ...optional('binding_id', row.binding_id),
    ...optional('operation_id', row.operation_id),
    ...optional('service_id', row.service_id),
    ...optional('plan_id', row.plan_id),
    ...optional('description', row.description)
  }
}
