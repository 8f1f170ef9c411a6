import { type Static, Type } from '@sinclair/typebox'
import { JsonObject, NonEmptyString } from './common.ts'

/** When a plan's operations answer: at once, later, or as the platform allows (see `docs/catalog.md`). */
export const Mode = Type.Union([Type.Literal('sync'), Type.Literal('async'), Type.Literal('either')])
export type Mode = Static<typeof Mode>

/** spec: Maintenance Info Object. */
export const MaintenanceInfo = Type.Object(
  { version: NonEmptyString, description: Type.Optional(Type.String()) },
  { additionalProperties: true }
)
export type MaintenanceInfo = Static<typeof MaintenanceInfo>

const InputParameters = Type.Object({ parameters: Type.Optional(JsonObject) }, { additionalProperties: true })

/** spec: Schemas Object. */
export const PlanSchemas = Type.Object(
  {
    service_instance: Type.Optional(
      Type.Object(
        { create: Type.Optional(InputParameters), update: Type.Optional(InputParameters) },
        { additionalProperties: true }
      )
    ),
    service_binding: Type.Optional(
      Type.Object({ create: Type.Optional(InputParameters) }, { additionalProperties: true })
    )
  },
  { additionalProperties: true }
)
export type PlanSchemas = Static<typeof PlanSchemas>

/** Our key on a plan in a catalog file; removed before the catalog is served. */
export const PlanExtension = Type.Object(
  {
    /** Default: the provider's. */
    mode: Type.Optional(Mode),
    /** A binding needs an `app_guid` (spec: Binding, RequiresApp). Default: false. */
    requires_app: Type.Optional(Type.Boolean()),
    /** Bindings carry `endpoints`. Default: false, because the Go client cannot read the specification's port strings. */
    endpoints: Type.Optional(Type.Boolean()),
    /**
     * Credentials are kept, encrypted, so that they can be fetched and a bind repeated; else they are handed over once.
     * Default: true.
     */
    keep_credentials: Type.Optional(Type.Boolean()),
    /** For the provider, checked against its schema. Default: none. */
    options: Type.Optional(JsonObject)
  },
  { additionalProperties: false }
)
export type PlanExtension = Static<typeof PlanExtension>

/** Our key on a service offering in a catalog file; removed before the catalog is served. */
export const ServiceExtension = Type.Object(
  {
    /** Name of the provider. Default: `BROKER_DEFAULT_PROVIDER`. */
    provider: Type.Optional(NonEmptyString)
  },
  { additionalProperties: false }
)
export type ServiceExtension = Static<typeof ServiceExtension>

/** spec: Service Plan Object. */
export const ServicePlan = Type.Object(
  {
    id: NonEmptyString,
    name: NonEmptyString,
    description: NonEmptyString,
    metadata: Type.Optional(JsonObject),
    free: Type.Optional(Type.Boolean()),
    bindable: Type.Optional(Type.Boolean()),
    binding_rotatable: Type.Optional(Type.Boolean()),
    plan_updateable: Type.Optional(Type.Boolean()),
    schemas: Type.Optional(PlanSchemas),
    maximum_polling_duration: Type.Optional(Type.Integer({ minimum: 1 })),
    maintenance_info: Type.Optional(MaintenanceInfo)
  },
  { additionalProperties: true }
)
export type ServicePlan = Static<typeof ServicePlan>

/** profile: Dashboard Client Object. */
export const DashboardClient = Type.Object(
  { id: NonEmptyString, secret: NonEmptyString, redirect_uri: Type.Optional(Type.String()) },
  { additionalProperties: true }
)
export type DashboardClient = Static<typeof DashboardClient>

/** spec: Service Offering Object. */
export const ServiceOffering = Type.Object(
  {
    name: NonEmptyString,
    id: NonEmptyString,
    description: NonEmptyString,
    tags: Type.Optional(Type.Array(Type.String())),
    requires: Type.Optional(
      Type.Array(
        Type.Union([Type.Literal('syslog_drain'), Type.Literal('route_forwarding'), Type.Literal('volume_mount')])
      )
    ),
    bindable: Type.Boolean(),
    instances_retrievable: Type.Optional(Type.Boolean()),
    bindings_retrievable: Type.Optional(Type.Boolean()),
    allow_context_updates: Type.Optional(Type.Boolean()),
    metadata: Type.Optional(JsonObject),
    dashboard_client: Type.Optional(DashboardClient),
    plan_updateable: Type.Optional(Type.Boolean()),
    plans: Type.Array(ServicePlan, { minItems: 1 })
  },
  { additionalProperties: true }
)
export type ServiceOffering = Static<typeof ServiceOffering>

/** Answer to `GET /v2/catalog` (spec: Catalog Management). */
export const Catalog = Type.Object({ services: Type.Array(ServiceOffering) }, { additionalProperties: true })
export type Catalog = Static<typeof Catalog>

/** A plan as a catalog file writes it: the wire's plan and our key. */
export const PlanSource = Type.Composite([ServicePlan, Type.Object({ 'x-broker': Type.Optional(PlanExtension) })], {
  additionalProperties: true
})
export type PlanSource = Static<typeof PlanSource>

/** A service offering as a catalog file writes it. */
export const ServiceSource = Type.Composite(
  [
    Type.Omit(ServiceOffering, ['plans']),
    Type.Object({ plans: Type.Array(PlanSource, { minItems: 1 }), 'x-broker': Type.Optional(ServiceExtension) })
  ],
  { additionalProperties: true }
)
export type ServiceSource = Static<typeof ServiceSource>

/** A catalog file: what is served, and what the broker keeps to itself. */
export const CatalogSource = Type.Object({ services: Type.Array(ServiceSource) }, { additionalProperties: true })
export type CatalogSource = Static<typeof CatalogSource>
