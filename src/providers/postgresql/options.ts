import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'
import { Rejected } from '../../core/provider.ts'

/** How `postgresqlProvider` finds its server and what it tells bindings. */
export interface PostgresqlProviderOptions {
  /**
   * The admin's URL, naming the maintenance database (usually `postgres`). A function is not called before the first
   * connection is needed: for a server whose port is known only once it runs.
   */
  adminUrl: string | (() => string)
  /** Host that bindings are told. Default: the admin URL's. */
  publicHost?: string | undefined
  /** Port that bindings are told. Default: the admin URL's. */
  publicPort?: number | undefined
  /** PEM file of the authority that signed the server's certificate; with it bindings get `sslmode=verify-full`. */
  caFile?: string | undefined
  /**
   * Run by a shell before a database is dropped, with `PGHOST`, `PGPORT`, `PGUSER`, `PGPASSWORD`, `PGDATABASE`, `PGSSLMODE` and
   * `OSB_INSTANCE_ID`. When it fails the database is kept, and the deprovision has failed. Default: none.
   */
  backupCommand?: string | undefined
  /** The credentials' `provider`. Default `fastify-open-service-broker`. */
  brokerName?: string | undefined
  /** The broker's own state database when it is on this server: tenants are kept out of it. */
  stateDatabase?: string | undefined
}

const Duration = (name: string, fallback: string) =>
  Type.String({
    pattern: '^(0|[1-9][0-9]*(ms|s|min|h|d))$',
    default: fallback,
    description: `${name} of the database; 0 turns it off`
  })

/** A plan's `x-broker.options`. */
export const PlanOptions = Type.Object(
  {
    connection_limit: Type.Integer({
      minimum: 1,
      maximum: 10000,
      default: 10,
      description: 'Connections to the database, and of each binding'
    }),
    statement_timeout: Duration('statement_timeout', '0'),
    idle_in_transaction_session_timeout: Duration('idle_in_transaction_session_timeout', '60s'),
    work_mem: Type.String({
      pattern: '^[1-9][0-9]*(kB|MB|GB)$',
      default: '4MB',
      description: 'work_mem of the database'
    }),
    extensions: Type.Array(Type.String({ pattern: '^[a-z][a-z0-9_-]{0,62}$' }), {
      default: [],
      description: 'Extensions that users may ask for, by the parameter of the same name'
    })
  },
  { additionalProperties: false }
)
export type PlanOptions = Static<typeof PlanOptions>

/** The same, for the catalog: every option may be left out. */
export const PlanOptionsSource = Type.Partial(PlanOptions, { additionalProperties: false })

/** Fills in the defaults. */
export function planOptions(options: JsonObject): PlanOptions {
  const filled = Value.Default(PlanOptions, { ...options })
  if (!Value.Check(PlanOptions, filled)) throw new Error('The plan has options that this provider does not know.')
  return filled
}

/** What a binding may do: everything (`owner`) or read (`reader`). */
export const BindingRole = Type.Union([Type.Literal('owner'), Type.Literal('reader')])
export type BindingRole = Static<typeof BindingRole>

const BindParameters = Type.Object({ role: Type.Optional(BindingRole) }, { additionalProperties: false })

/**
 * The role that a bind asks for.
 * @throws {Rejected} 400: a misspelt `role` must not end as an owner's credentials
 */
export function bindingRole(parameters: JsonObject): BindingRole {
  if (!Value.Check(BindParameters, parameters)) {
    throw new Rejected(400, 'A binding takes one parameter, "role", which is "owner" (the default) or "reader".')
  }
  return parameters.role ?? 'owner'
}
