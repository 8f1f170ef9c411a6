import type { Pool } from 'pg'
import type { Tables } from './schema.ts'
import { readOnly } from './transactions.ts'

/** The key of an originating identity in the index of events, as an expression of SQL: to the letter what the index has. */
export const identityKey = 'jsonb_hash_extended(e.originating_identity, 0)'

/** Beyond this, events are read and filtered: so many users have so many events that the wanted ones are near. */
const KEYS = 100
/** Identities that are looked at. A platform that tells another identity in each request would have as many as events. */
const IDENTITIES = 50_000

/** Whether a text is in a value of the identity, in whichever case; not in the names of its fields. */
export function hasText(place: string): string {
  return `EXISTS (
    SELECT FROM jsonb_path_query(e.originating_identity, '$.**') AS part
    WHERE jsonb_typeof(part) IN ('string', 'number') AND strpos(lower(part #>> '{}'), lower(${place})) > 0
  )`
}

/**
 * The keys of the identities that have a text in one of their values; undefined when they are too many. It jumps from
 * identity to identity in the index, so that its time depends on how many users there are and not on how many events.
 */
export async function identitiesWith(pool: Pool, { auditEvents }: Tables, user: string): Promise<string[] | undefined> {
  // The newest event of each, because these are near to each other on the disk.
  const next = (below: string) => `SELECT ${identityKey} AS key, e.originating_identity FROM ${auditEvents} AS e
    WHERE e.originating_identity IS NOT NULL ${below}
    ORDER BY ${identityKey} DESC, e.at DESC, e.event_id DESC LIMIT 1`
  const rows = await readOnly<{ key: string; number: number }>(
    pool,
    `WITH RECURSIVE found (key, originating_identity, number) AS (
      (SELECT first.key, first.originating_identity, 1 FROM (${next('')}) AS first)
      UNION ALL
      SELECT further.key, further.originating_identity, found.number + 1
      FROM found CROSS JOIN LATERAL (${next(`AND ${identityKey} < found.key`)}) AS further
      WHERE found.number < ${IDENTITIES}
    )
    SELECT e.key::text, e.number FROM found AS e
    WHERE e.number = ${IDENTITIES} OR ${hasText('$1')} LIMIT ${KEYS + 1}`,
    [user]
  )
  if (rows.length > KEYS || rows.some(({ number }) => number === IDENTITIES)) return undefined
  return rows.map(({ key }) => key)
}
