import type { JsonObject } from '../../../schemas/common.ts'
import type { BindingRecord, InstancePatch, InstanceRecord, OperationRecord, OperationStart } from '../../core/store.ts'
import type { Sealer } from './sealing.ts'

/** Values by column. */
export type Columns = Record<string, unknown>

export interface InstanceRow {
  instance_id: string
  platform: string
  provider: string
  service_id: string
  plan_id: string
  organization_guid: string
  space_guid: string
  context: JsonObject
  parameters: JsonObject
  maintenance_version: string | null
  status: InstanceRecord['status']
  dashboard_url: string | null
  metadata: InstanceRecord['metadata'] | null
  state: string | null
  created_at: Date
  updated_at: Date
}

export const instanceColumnNames = `instance_id, platform, provider, service_id, plan_id, organization_guid, space_guid,
  context, parameters, maintenance_version, status, dashboard_url, metadata, state, created_at, updated_at`

export async function instanceFrom(row: InstanceRow, sealer: Sealer): Promise<InstanceRecord> {
  const instanceId = row.instance_id
  const { platform } = row
  const purpose = { column: 'instance.state', platform, instanceId } as const
  const state = row.state === null ? null : await sealer.open(row.state, purpose)
  return {
    instanceId,
    platform,
    provider: row.provider,
    serviceId: row.service_id,
    planId: row.plan_id,
    organizationGuid: row.organization_guid,
    spaceGuid: row.space_guid,
    context: row.context,
    parameters: row.parameters,
    ...optional('maintenanceVersion', row.maintenance_version),
    status: row.status,
    ...optional('dashboardUrl', row.dashboard_url),
    ...optional('metadata', row.metadata),
    ...optional('state', state),
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}

/** Which instance, and for which platform its secrets are encrypted. */
export type InstanceIds = Pick<InstanceRecord, 'platform' | 'instanceId'>

/** The columns of the fields that are there, without the key. */
export async function instanceColumns(ids: InstanceIds, fields: InstancePatch, sealer: Sealer): Promise<Columns> {
  const { platform, instanceId } = ids
  return present({
    platform: fields.platform,
    provider: fields.provider,
    service_id: fields.serviceId,
    plan_id: fields.planId,
    organization_guid: fields.organizationGuid,
    space_guid: fields.spaceGuid,
    context: json(fields.context),
    parameters: json(fields.parameters),
    maintenance_version: fields.maintenanceVersion,
    status: fields.status,
    dashboard_url: fields.dashboardUrl,
    metadata: json(fields.metadata),
    state: fields.state && (await sealer.seal(fields.state, { column: 'instance.state', platform, instanceId })),
    created_at: fields.createdAt,
    updated_at: fields.updatedAt
  })
}

export interface BindingRow {
  instance_id: string
  binding_id: string
  platform: string
  service_id: string
  plan_id: string
  app_guid: string | null
  route: string | null
  context: JsonObject
  parameters: JsonObject
  predecessor_binding_id: string | null
  status: BindingRecord['status']
  reply: string | null
  state: string | null
  undelivered_until: Date | null
  expires_at: Date | null
  expired: boolean | null
  revoked_at: Date | null
  created_at: Date
  updated_at: Date
}

export const bindingColumnNames = `instance_id, binding_id, platform, service_id, plan_id, app_guid, route, context,
  parameters, predecessor_binding_id, status, reply, state, undelivered_until, expires_at,
  expires_at <= clock_timestamp() AS expired, revoked_at, created_at, updated_at`

export async function bindingFrom(row: BindingRow, sealer: Sealer): Promise<BindingRecord> {
  const ids = { platform: row.platform, instanceId: row.instance_id, bindingId: row.binding_id }
  const reply = row.reply === null ? null : await sealer.open(row.reply, { column: 'binding.reply', ...ids })
  const state = row.state === null ? null : await sealer.open(row.state, { column: 'binding.state', ...ids })
  return {
    ...ids,
    serviceId: row.service_id,
    planId: row.plan_id,
    ...optional('appGuid', row.app_guid),
    ...optional('route', row.route),
    context: row.context,
    parameters: row.parameters,
    ...optional('predecessorBindingId', row.predecessor_binding_id),
    status: row.status,
    ...optional('reply', reply),
    ...optional('state', state),
    ...optional('undeliveredUntil', row.undelivered_until),
    ...optional('expiresAt', row.expires_at),
    ...(row.expired === true ? { expired: true } : {}),
    ...optional('revokedAt', row.revoked_at),
    createdAt: row.created_at,
    updatedAt: row.updated_at
  }
}

/** Which binding, and for which platform its secrets are encrypted. */
export type BindingIds = Pick<BindingRecord, 'platform' | 'instanceId' | 'bindingId'>

/** The columns of the fields that are there, without the key. */
export async function bindingColumns(
  { platform, instanceId, bindingId }: BindingIds,
  fields: Partial<BindingRecord>,
  sealer: Sealer
): Promise<Columns> {
  const ids = { platform, instanceId, bindingId }
  return present({
    platform: fields.platform,
    service_id: fields.serviceId,
    plan_id: fields.planId,
    app_guid: fields.appGuid,
    route: fields.route,
    context: json(fields.context),
    parameters: json(fields.parameters),
    predecessor_binding_id: fields.predecessorBindingId,
    status: fields.status,
    reply: fields.reply && (await sealer.seal(fields.reply, { column: 'binding.reply', ...ids })),
    state: fields.state && (await sealer.seal(fields.state, { column: 'binding.state', ...ids })),
    expires_at: fields.expiresAt,
    revoked_at: fields.revokedAt,
    created_at: fields.createdAt,
    updated_at: fields.updatedAt
  })
}

export interface OperationRow {
  operation_id: string
  kind: OperationRecord['kind']
  platform: string
  instance_id: string
  binding_id: string | null
  provider: string | null
  service_id: string | null
  plan_id: string | null
  state: OperationRecord['state']
  async: boolean
  internal: boolean
  target: OperationRecord['target'] | null
  description: string | null
  failure: OperationRecord['failure'] | null
  instance_usable: boolean | null
  update_repeatable: boolean | null
  unreported: boolean
  age_ms: number
  attempt: number
  lease_until: Date | null
  halts: string | null
  deadline: Date
  originating_identity: OperationRecord['originatingIdentity'] | null
  request_identity: string | null
  trace_context: string | null
  created_at: Date
  started_at: Date | null
  finished_at: Date | null
}

export const operationColumnNames = `operation_id, kind, platform, instance_id, binding_id, provider, service_id, plan_id,
  state, async, internal, unreported, target, description, failure, instance_usable, update_repeatable,
  (extract(epoch FROM clock_timestamp() - created_at) * 1000)::float8 AS age_ms, attempt, lease_until, halts, deadline,
  originating_identity, request_identity, trace_context, created_at, started_at, finished_at`

export function operationFrom(row: OperationRow): OperationRecord {
  return {
    operationId: row.operation_id,
    kind: row.kind,
    platform: row.platform,
    instanceId: row.instance_id,
    ...optional('bindingId', row.binding_id),
    ...optional('provider', row.provider),
    ...optional('serviceId', row.service_id),
    ...optional('planId', row.plan_id),
    state: row.state,
    async: row.async,
    internal: row.internal,
    ...optional('target', row.target),
    ...optional('description', row.description),
    ...optional('failure', row.failure),
    ...optional('instanceUsable', row.instance_usable),
    ...optional('updateRepeatable', row.update_repeatable),
    ...(row.unreported ? { unreported: true } : {}),
    ageMs: Math.max(0, row.age_ms),
    attempt: row.attempt,
    ...optional('leaseUntil', row.lease_until),
    ...optional('halts', row.halts),
    deadline: row.deadline,
    ...optional('originatingIdentity', row.originating_identity),
    ...optional('requestIdentity', row.request_identity),
    ...optional('traceContext', row.trace_context),
    createdAt: row.created_at,
    ...optional('startedAt', row.started_at),
    ...optional('finishedAt', row.finished_at)
  }
}

/** The columns of a new operation that the caller knows; the server adds state, attempt and times. */
export function operationColumns(operation: OperationStart): Columns {
  return present({
    operation_id: operation.operationId,
    kind: operation.kind,
    platform: operation.platform,
    instance_id: operation.instanceId,
    binding_id: operation.bindingId,
    provider: operation.provider,
    service_id: operation.serviceId,
    plan_id: operation.planId,
    async: operation.async,
    internal: operation.internal,
    target: json(operation.target),
    halts: operation.halts,
    originating_identity: json(operation.originatingIdentity),
    request_identity: operation.requestIdentity,
    trace_context: operation.traceContext
  })
}

/** As text: node-postgres would write an array as one of PostgreSQL's. */
export function json(value: object | undefined): string | undefined {
  return value === undefined ? undefined : JSON.stringify(value)
}

function present(columns: Columns): Columns {
  return Object.fromEntries(Object.entries(columns).filter(([, value]) => value !== undefined))
}

/** `null` in the database is an absent field in a record. */
export function optional<Key extends string, Value>(
  key: Key,
  value: Value | null | undefined
): { [Field in Key]?: NonNullable<Value> } {
  const field: Partial<Record<string, unknown>> = value === null || value === undefined ? {} : { [key]: value }
  return field as { [Field in Key]?: NonNullable<Value> }
}
