import { type TSchema, Type } from '@sinclair/typebox'
import type { Endpoint } from '../client/endpoint.ts'

/**
 * What the specification says of each answer, and no more: unknown fields are allowed, and what may be null is. The broker's
 * own schemas in `schemas/` are stricter.
 */
const text = Type.String()
const nonEmpty = Type.String({ minLength: 1 })
const object = Type.Object({}, { additionalProperties: true })
const optional = Type.Optional

/** spec: "no more than 10,000 characters". */
const operation = Type.String({ minLength: 1, maxLength: 10_000 })
const nullable = (schema: TSchema) => Type.Union([schema, Type.Null()])

const instanceMetadata = Type.Object({ labels: optional(object), attributes: optional(object) })

const instance = Type.Object({ dashboard_url: optional(nullable(text)), metadata: optional(instanceMetadata) })
const instanceAccepted = Type.Composite([instance, Type.Object({ operation: optional(nullable(operation)) })])
const instanceFetched = Type.Composite([
  instance,
  Type.Object({
    service_id: optional(nonEmpty),
    plan_id: optional(nonEmpty),
    parameters: optional(nullable(object)),
    maintenance_info: optional(nullable(Type.Object({ version: nonEmpty })))
  })
])

/** spec: `yyyy-mm-ddThh:mm:ss.sZ`. */
const timestamp = Type.String({ pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}\\.\\d+Z$' })

const binding = Type.Object({
  metadata: optional(Type.Object({ expires_at: optional(timestamp), renew_before: optional(timestamp) })),
  credentials: optional(object),
  syslog_drain_url: optional(nullable(text)),
  route_service_url: optional(nullable(text)),
  volume_mounts: optional(
    nullable(
      Type.Array(
        Type.Object({
          driver: text,
          container_dir: text,
          mode: Type.Union([Type.Literal('r'), Type.Literal('rw')]),
          device_type: Type.Literal('shared'),
          device: Type.Object({ volume_id: text, mount_config: optional(nullable(object)) })
        })
      )
    )
  ),
  endpoints: optional(
    Type.Array(
      Type.Object({
        host: nonEmpty,
        ports: Type.Array(Type.String({ pattern: '^\\d{1,5}(-\\d{1,5})?$' }), { minItems: 1 }),
        protocol: optional(Type.Union([Type.Literal('tcp'), Type.Literal('udp'), Type.Literal('all')]))
      })
    )
  )
})
const bindingFetched = Type.Composite([binding, Type.Object({ parameters: optional(nullable(object)) })])
/** "Information regarding the Service Binding (i.e. credentials) MUST NOT be returned in this response." */
const bindingAccepted = Type.Object({
  operation: optional(operation),
  credentials: optional(Type.Never()),
  syslog_drain_url: optional(Type.Never()),
  route_service_url: optional(Type.Never()),
  volume_mounts: optional(Type.Never())
})

const accepted = Type.Object({ operation: optional(nullable(operation)) })
const poll = Type.Object({
  state: Type.Union([Type.Literal('in progress'), Type.Literal('succeeded'), Type.Literal('failed')]),
  description: optional(nonEmpty),
  instance_usable: optional(Type.Boolean()),
  update_repeatable: optional(Type.Boolean())
})

/** Body of every refusal (spec: Service Broker Errors). */
export const errorSchema = Type.Object({
  // "A single word in camel case".
  error: optional(Type.String({ pattern: '^[A-Za-z][A-Za-z0-9]*$' })),
  description: optional(nonEmpty),
  instance_usable: optional(Type.Boolean()),
  update_repeatable: optional(Type.Boolean())
})

/** Bodies of success, by endpoint and status. The catalog has checks of its own. */
export const answerSchemas: Readonly<Partial<Record<Endpoint, Readonly<Record<number, TSchema>>>>> = {
  provision: { 200: instance, 201: instance, 202: instanceAccepted },
  'fetch-instance': { 200: instanceFetched },
  update: { 200: instance, 202: instanceAccepted },
  deprovision: { 200: object, 202: accepted },
  'poll-instance': { 200: poll },
  bind: { 200: binding, 201: binding, 202: bindingAccepted },
  'fetch-binding': { 200: bindingFetched },
  unbind: { 200: object, 202: accepted },
  'poll-binding': { 200: poll }
}
