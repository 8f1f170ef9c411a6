import { type Static, Type } from '@sinclair/typebox'
import { JsonObject, NonEmptyString } from './common.ts'

/** What a binding is for (spec: Bind Resource Object); further fields belong to the platform's profile. */
export const BindResource = Type.Object(
  { app_guid: Type.Optional(NonEmptyString), route: Type.Optional(Type.String()) },
  { additionalProperties: true }
)
export type BindResource = Static<typeof BindResource>

/**
 * Body of `PUT …/service_bindings/:binding_id` (spec: Binding; Rotating a Service Binding). The ids are required
 * unless the request names a predecessor; the domain checks that, so that the message can say so.
 */
export const BindRequest = Type.Object({
  service_id: Type.Optional(NonEmptyString),
  plan_id: Type.Optional(NonEmptyString),
  app_guid: Type.Optional(NonEmptyString),
  bind_resource: Type.Optional(BindResource),
  context: Type.Optional(JsonObject),
  parameters: Type.Optional(JsonObject),
  predecessor_binding_id: Type.Optional(NonEmptyString)
})
export type BindRequest = Static<typeof BindRequest>

const Timestamp = Type.String({ description: 'ISO 8601, `yyyy-mm-ddThh:mm:ss.sZ`' })

/** spec: Binding Metadata Object. */
export const BindingMetadata = Type.Object(
  { expires_at: Type.Optional(Timestamp), renew_before: Type.Optional(Timestamp) },
  { additionalProperties: true }
)
export type BindingMetadata = Static<typeof BindingMetadata>

/** spec: Volume Mount Object, Device Object. */
export const VolumeMount = Type.Object({
  driver: Type.String(),
  container_dir: Type.String(),
  mode: Type.Union([Type.Literal('r'), Type.Literal('rw')]),
  device_type: Type.String(),
  device: Type.Object({ volume_id: Type.String(), mount_config: Type.Optional(JsonObject) })
})
export type VolumeMount = Static<typeof VolumeMount>

/** spec: Endpoint Object. `ports` are strings. */
export const Endpoint = Type.Object({
  host: Type.String(),
  ports: Type.Array(Type.String(), { minItems: 1 }),
  protocol: Type.Optional(Type.Union([Type.Literal('tcp'), Type.Literal('udp'), Type.Literal('all')]))
})
export type Endpoint = Static<typeof Endpoint>

/** Answer 200 and 201 to a bind (spec: Binding, Body). */
export const BindingReply = Type.Object({
  metadata: Type.Optional(BindingMetadata),
  credentials: Type.Optional(JsonObject),
  syslog_drain_url: Type.Optional(Type.String()),
  route_service_url: Type.Optional(Type.String()),
  volume_mounts: Type.Optional(Type.Array(VolumeMount)),
  endpoints: Type.Optional(Type.Array(Endpoint))
})
export type BindingReply = Static<typeof BindingReply>

/** Answer 202 to a bind: never with credentials (spec: Binding, 202). */
export const BindingAccepted = Type.Object({ operation: NonEmptyString })
export type BindingAccepted = Static<typeof BindingAccepted>

/** Answer to `GET …/service_bindings/:binding_id` (spec: Fetching a Service Binding). */
export const BindingFetched = Type.Object({ ...BindingReply.properties, parameters: Type.Optional(JsonObject) })
export type BindingFetched = Static<typeof BindingFetched>
