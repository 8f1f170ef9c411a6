import { type Static, Type } from '@sinclair/typebox'
import { JsonObject, MaintenanceInfoRequest, NonEmptyString } from './common.ts'

/** Labels and attributes of an instance (spec: Service Instance Metadata). */
export const ServiceInstanceMetadata = Type.Object(
  { labels: Type.Optional(JsonObject), attributes: Type.Optional(JsonObject) },
  { additionalProperties: true }
)
export type ServiceInstanceMetadata = Static<typeof ServiceInstanceMetadata>

/** Body of `PUT /v2/service_instances/:instance_id` (spec: Provisioning, Body). */
export const ProvisionRequest = Type.Object({
  service_id: NonEmptyString,
  plan_id: NonEmptyString,
  organization_guid: NonEmptyString,
  space_guid: NonEmptyString,
  context: Type.Optional(JsonObject),
  parameters: Type.Optional(JsonObject),
  maintenance_info: Type.Optional(MaintenanceInfoRequest)
})
export type ProvisionRequest = Static<typeof ProvisionRequest>

/** Answer 200 and 201 to a provision, and 200 to an update (spec: Provisioning, Updating). */
export const InstanceReply = Type.Object({
  dashboard_url: Type.Optional(Type.String()),
  metadata: Type.Optional(ServiceInstanceMetadata)
})
export type InstanceReply = Static<typeof InstanceReply>

/** Answer 202 to a provision or an update. */
export const InstanceAccepted = Type.Object({
  dashboard_url: Type.Optional(Type.String()),
  operation: NonEmptyString,
  metadata: Type.Optional(ServiceInstanceMetadata)
})
export type InstanceAccepted = Static<typeof InstanceAccepted>

/** Answer to `GET /v2/service_instances/:instance_id` (spec: Fetching a Service Instance). */
export const InstanceFetched = Type.Object({
  service_id: Type.String(),
  plan_id: Type.String(),
  dashboard_url: Type.Optional(Type.String()),
  parameters: Type.Optional(JsonObject),
  maintenance_info: Type.Optional(Type.Object({ version: Type.String() })),
  metadata: Type.Optional(ServiceInstanceMetadata)
})
export type InstanceFetched = Static<typeof InstanceFetched>

/**
 * Hints about the state before an update (spec: Previous Values Object). We keep the truth ourselves and read none
 * of them; Cloud Controller sends `maintenance_info: null` here, so the fields stay unchecked.
 */
const PreviousValues = JsonObject

/** Body of `PATCH /v2/service_instances/:instance_id` (spec: Updating a Service Instance). */
export const UpdateRequest = Type.Object({
  service_id: NonEmptyString,
  plan_id: Type.Optional(NonEmptyString),
  context: Type.Optional(JsonObject),
  parameters: Type.Optional(JsonObject),
  previous_values: Type.Optional(PreviousValues),
  maintenance_info: Type.Optional(MaintenanceInfoRequest)
})
export type UpdateRequest = Static<typeof UpdateRequest>

/** Answer 202 to a delete (spec: Deprovisioning, Unbinding). */
export const DeleteAccepted = Type.Object({ operation: NonEmptyString })
export type DeleteAccepted = Static<typeof DeleteAccepted>
