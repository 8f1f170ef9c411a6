import { randomBytes } from 'node:crypto'
import { Pool } from 'pg'
import { migrate, PostgresStore, parseEncryptionKeys, Sealer } from '../../src/stores/postgres/index.ts'
import { query, type Stage } from './stage.ts'

/** A state database with so many instances, bindings, finished operations and audit events, and a store on it. */
export interface FilledState {
  readonly rows: number
  readonly url: string
  readonly pool: Pool
  readonly store: PostgresStore
}

/** What the measured queries ask for; every database has as much of it. */
export const wanted = {
  platform: 'rare',
  user: 'zoe@example.com',
  request: 'request-rare',
  /** A plan of few instances, with a storage quota. */
  plan: 'plan-watched',
  watched: 400,
  events: 50,
  expired: 100
} as const

/** Instances have one of so many plans, and one of so many platforms. */
const PLANS = 20
const PLATFORMS = 5
const USERS = 300

/** Rows that one statement writes. */
const CHUNK = 250_000

export async function filledState(stage: Stage, name: string, rows: number): Promise<FilledState> {
  const url = await stage.database(name)
  const pool = new Pool({ connectionString: url, max: 4 })
  stage.cleanUp(() => pool.end())
  await migrate(pool)
  const sealer = new Sealer(parseEncryptionKeys(`k1:${randomBytes(32).toString('base64')}`))
  const store = new PostgresStore(pool, { sealer })
  stage.cleanUp(() => store.close())
  const model = { column: 'instance.state', platform: 'platform-0', instanceId: 'model' } as const
  await fill(url, rows, await sealer.seal({ token: 'x'.repeat(20) }, model))
  await watchedInstances(pool, sealer)
  for (const table of ['service_instances', 'service_bindings', 'operations', 'audit_events', 'resource_counts']) {
    await query(url, `VACUUM (ANALYZE) osb.${table}`)
  }
  await query(url, 'CHECKPOINT')
  return { rows, url, pool, store }
}

/** Without triggers, and the counts are set afterwards: that is three times as fast. */
async function fill(url: string, rows: number, sealed: string): Promise<void> {
  for (let from = 0; from < rows; from += CHUNK) {
    const to = Math.min(rows, from + CHUNK)
    const series = `generate_series(${from + 1}, ${to}) AS n`
    for (const insert of statements(series)) {
      await query(url, `SET session_replication_role = replica; ${insert.replaceAll('$state', `'${sealed}'`)}`)
    }
  }
  await query(
    url,
    `INSERT INTO osb.resource_counts (platform, plan_id, resource, service_id, status, count)
    SELECT platform, plan_id, 'instance', service_id, status, count(*) FROM osb.service_instances GROUP BY 1, 2, 4, 5
    UNION ALL
    SELECT platform, plan_id, 'binding', service_id, status, count(*) FROM osb.service_bindings GROUP BY 1, 2, 4, 5`
  )
  await query(
    url,
    `SET session_replication_role = replica;
    UPDATE osb.service_bindings SET expires_at = now() - interval '1 minute' WHERE instance_id IN (
      SELECT 'instance-' || n FROM generate_series(1, ${wanted.expired}) AS n)`
  )
}

function statements(series: string): string[] {
  const id = `'instance-' || n`
  const platform = `'platform-' || n % ${PLATFORMS}`
  const plan = `'plan-' || n % ${PLANS}`
  const at = `now() - (n % 604800) * interval '1 second'`
  return [
    `INSERT INTO osb.service_instances (instance_id, platform, provider, service_id, plan_id, organization_guid, space_guid, context,
      parameters, status, state, created_at, updated_at)
    SELECT ${id}, ${platform}, 'example', 'service-1', ${plan}, md5((n % 1000)::text), md5((n % 9000)::text),
      jsonb_build_object('platform', 'cloudfoundry', 'organization_guid', md5((n % 1000)::text), 'space_name', 'dev'),
      jsonb_build_object('size', n % 7, 'name', md5(n::text)), 'ready', $state, ${at}, ${at} FROM ${series}`,
    `INSERT INTO osb.service_bindings (instance_id, binding_id, platform, service_id, plan_id, app_guid, context, parameters, status,
      reply, state, created_at, updated_at)
    SELECT ${id}, 'binding-' || n, ${platform}, 'service-1', ${plan}, md5(n::text), '{}', '{}', 'ready', $state, $state, ${at},
      ${at} FROM ${series}`,
    `INSERT INTO osb.operations (operation_id, kind, platform, instance_id, state, async, internal, attempt, deadline,
      originating_identity, request_identity, created_at, started_at, finished_at)
    SELECT 'operation-' || n, 'provision', ${platform}, ${id}, 'succeeded', true, false, 1, now(),
      jsonb_build_object('platform', 'cloudfoundry', 'value', jsonb_build_object('user_id', md5((n % ${USERS})::text))),
      md5('request' || n), ${at}, ${at}, ${at} FROM ${series}`,
    `INSERT INTO osb.audit_events (at, platform, originating_identity, request_identity, action, phase, instance_id, operation_id,
      service_id, plan_id)
    SELECT now() - n * interval '1 second', CASE WHEN rare THEN '${wanted.platform}' ELSE ${platform} END,
      jsonb_build_object('platform', 'cloudfoundry', 'value',
        jsonb_build_object('user_id', CASE WHEN rare THEN '${wanted.user}' ELSE md5((n % ${USERS})::text) END)),
      CASE WHEN rare THEN '${wanted.request}' ELSE md5('request' || n) END, 'provision', 'succeeded', ${id}, 'operation-' || n,
      'service-1', ${plan}
    FROM ${series}, LATERAL (SELECT n % 200 = 0 AND n <= ${200 * wanted.events} AS rare) AS seldom`
  ]
}

/** Instances whose states can be opened. */
async function watchedInstances(pool: Pool, sealer: Sealer): Promise<void> {
  const ids = Array.from({ length: wanted.watched }, (_, index) => `watched-${index}`)
  const states = await Promise.all(
    ids.map((instanceId) =>
      sealer.seal({ token: instanceId }, { column: 'instance.state', platform: 'platform-0', instanceId })
    )
  )
  await pool.query(
    `INSERT INTO osb.service_instances (instance_id, platform, provider, service_id, plan_id, organization_guid, space_guid, context,
      parameters, status, state, created_at, updated_at)
    SELECT id, 'platform-0', 'example', 'service-1', $3, 'o', 's', '{}', '{}', 'ready', state, now(), now()
    FROM unnest($1::text[], $2::text[]) AS watched (id, state)`,
    [ids, states, wanted.plan]
  )
}
