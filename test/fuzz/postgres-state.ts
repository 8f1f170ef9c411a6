import { Client } from 'pg'
import { until } from '../server/broker-process.ts'
import type { StateView } from './sequences.ts'

/** Rows of a sequence's own, and those that belong to none: a sequence's ids begin with the seed. */
const mine = `(instance_id LIKE $1 || '%' OR instance_id NOT LIKE $2 || '%')`
const rows = (table: string) =>
  `(SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM osb.${table} t WHERE ${mine})`

/** The tables of a broker, read past it. */
export async function openPostgresState(connectionString: string): Promise<StateView & { close(): Promise<void> }> {
  const client = new Client({ connectionString })
  await client.connect()
  return {
    read: (prefix) =>
      until('nothing changes by itself', async () => {
        const { rows: found } = await client.query<Record<string, unknown>>(
          `SELECT ${rows('service_instances')} AS instances, ${rows('service_bindings')} AS bindings,
            ${rows('operations')} AS operations, ${rows('audit_events')} AS events,
            (SELECT count(*) FROM osb.operations WHERE state = 'in progress' AND ${mine}) AS unfinished`,
          [prefix, prefix.replace(/-.*/, '-')]
        )
        return found[0]?.unfinished === '0' ? JSON.stringify(found) : undefined
      }),
    close: () => client.end()
  }
}
