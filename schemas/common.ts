import { type Static, Type } from '@sinclair/typebox'

/** A string of at least one character. */
export const NonEmptyString = Type.String({ minLength: 1 })

/** Any JSON object; its fields are passed through as they came. Made of `Type.Object`, so that `Value.Check` knows it. */
export const JsonObject = Type.Unsafe<Record<string, unknown>>(Type.Object({}, { additionalProperties: true }))
export type JsonObject = Static<typeof JsonObject>

/** `{}`, with room for vendor fields. The answer to a finished delete (spec: Unbinding, Deprovisioning). */
export const EmptyObject = Type.Object({}, { additionalProperties: true })
export type EmptyObject = Static<typeof EmptyObject>

/**
 * The longest instance or binding id we take. The specification sets no limit; platforms send GUIDs, and ids are
 * primary keys here.
 */
export const MAX_ID_LENGTH = 255

const ResourceId = Type.String({ minLength: 1, maxLength: MAX_ID_LENGTH })

/** Path of every route below `/v2/service_instances/:instance_id`. */
export const InstanceParams = Type.Object({ instance_id: ResourceId })
export type InstanceParams = Static<typeof InstanceParams>

/** Path of every route below `…/service_bindings/:binding_id`. */
export const BindingParams = Type.Object({ instance_id: ResourceId, binding_id: ResourceId })
export type BindingParams = Static<typeof BindingParams>

/** Query of the mutating `PUT` and `PATCH` (spec: Asynchronous Operations). */
export const AsyncQuery = Type.Object({ accepts_incomplete: Type.Optional(Type.Boolean()) })
export type AsyncQuery = Static<typeof AsyncQuery>

/** Query of the fetching `GET`s: hints that we do not need, taken so that they may be sent. */
export const HintQuery = Type.Object({
  service_id: Type.Optional(Type.String()),
  plan_id: Type.Optional(Type.String())
})
export type HintQuery = Static<typeof HintQuery>

/**
 * Query of both `DELETE`s. The specification requires both ids; which refusal comes first when one is missing is
 * the domain's to decide, so the schema lets them be absent.
 */
export const DeleteQuery = Type.Object({
  service_id: Type.Optional(Type.String()),
  plan_id: Type.Optional(Type.String()),
  accepts_incomplete: Type.Optional(Type.Boolean())
})
export type DeleteQuery = Static<typeof DeleteQuery>

/** What a request says of `maintenance_info`: only the version counts (spec: Maintenance Info). */
export const MaintenanceInfoRequest = Type.Object({ version: Type.Optional(Type.String()) })
export type MaintenanceInfoRequest = Static<typeof MaintenanceInfoRequest>

/** Headers of every request (spec: Headers). The version and its refusals are the api-version plugin's. */
export const OsbHeaders = Type.Object({
  'x-broker-api-version': Type.Optional(Type.String()),
  'x-broker-api-originating-identity': Type.Optional(Type.String()),
  'x-broker-api-request-identity': Type.Optional(Type.String())
})
export type OsbHeaders = Static<typeof OsbHeaders>
