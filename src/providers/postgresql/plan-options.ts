import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'
import type { OptionFault } from '../../core/provider.ts'

const Duration = (name: string, fallback: string) =>
  Type.String({
    pattern: '^(0|[1-9][0-9]*(ms|s|min|h|d))$',
    default: fallback,
    description: `${name} of the database; 0 turns it off`
  })

/** Maximum of `connection_limit`. */
const MAX_CONNECTIONS = 10_000
/** Default of `database_connection_limit` as a multiple of `connection_limit`: both bindings of a rotation fit. */
const BINDINGS_OF_A_ROTATION = 2
/** Default of a plan's `lock_limit`. */
export const DEFAULT_LOCK_LIMIT = 4000

/** A plan's `x-broker.options`. */
export const PlanOptions = Type.Object(
  {
    servers: Type.Optional(
      Type.Array(Type.String(), {
        minItems: 1,
        uniqueItems: true,
        description: 'Names of the servers that databases of the plan are made on; default: all'
      })
    ),
    connection_limit: Type.Integer({
      minimum: 1,
      maximum: MAX_CONNECTIONS,
      default: 10,
      description: 'Maximum number of connections of each binding'
    }),
    database_connection_limit: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: MAX_CONNECTIONS * BINDINGS_OF_A_ROTATION,
        description:
          'Maximum number of connections of all bindings together, at least connection_limit; default: twice connection_limit'
      })
    ),
    statement_timeout: Duration('statement_timeout', '0'),
    idle_in_transaction_session_timeout: Duration('idle_in_transaction_session_timeout', '60s'),
    work_mem: Type.String({
      pattern: '^[1-9][0-9]*(kB|MB|GB)$',
      default: '4MB',
      description: 'work_mem of the database'
    }),
    lock_limit: Type.Integer({
      minimum: 100,
      maximum: 1_000_000,
      default: DEFAULT_LOCK_LIMIT,
      description: 'Entries in the lock table of the server that the sessions of the instance may have together'
    }),
    storage_quota: Type.Optional(
      Type.String({
        pattern: '^[1-9][0-9]*(MB|GB|TB)$',
        description: 'How large the database may grow before its bindings may only read and delete; default: no limit'
      })
    ),
    binding_lifetime: Type.Optional(
      Type.String({
        pattern: '^[1-9][0-9]*(s|min|h|d)$',
        description: 'How long credentials work; default: until they are unbound'
      })
    ),
    extensions: Type.Array(Type.String({ pattern: '^[a-z][a-z0-9_-]{0,62}$' }), {
      default: [],
      description: 'Extensions that users may ask for, by the parameter of the same name'
    })
  },
  { additionalProperties: false }
)

/** The options of a plan with their defaults. */
export interface PlanOptions extends Static<typeof PlanOptions> {
  database_connection_limit: number
}

/**
 * The same, for the catalog: every option may be left out.
 * @param servers those that a plan may name; default: any
 */
export function planOptionsSource(servers?: readonly string[]) {
  const name = servers === undefined ? Type.String() : Type.Union(servers.map((server) => Type.Literal(server)))
  const { properties } = PlanOptions
  return Type.Partial(Type.Object({ ...properties, servers: Type.Array(name, { minItems: 1, uniqueItems: true }) }), {
    additionalProperties: false
  })
}

/**
 * Fills in the defaults.
 * @throws when the options do not match the schema, or contradict each other
 */
export function planOptions(options: JsonObject): PlanOptions {
  const filled = Value.Default(PlanOptions, Value.Clone(options))
  if (!Value.Check(PlanOptions, filled)) throw new Error('The plan has options that this provider does not know.')
  const [fault] = planOptionFaults(filled)
  if (fault !== undefined) throw new Error(`The plan option "${fault.option}" ${fault.message}.`)
  const { connection_limit: limit, database_connection_limit: all = limit * BINDINGS_OF_A_ROTATION } = filled
  return { ...filled, database_connection_limit: all }
}

/** Checks what the schema cannot express. */
export function planOptionFaults({
  connection_limit: each,
  database_connection_limit: all
}: JsonObject): OptionFault[] {
  if (typeof each !== 'number' || typeof all !== 'number' || all >= each) return []
  const message = `must be at least ${each}, the connection_limit of each binding, not ${all}`
  return [{ option: 'database_connection_limit', message }]
}

const BYTES = new Map([
  ['MB', 1024 ** 2],
  ['GB', 1024 ** 3],
  ['TB', 1024 ** 4]
])

/** A plan's quota in bytes; `Infinity` when it has none. */
export function quotaBytes({ storage_quota: quota }: Pick<PlanOptions, 'storage_quota'>): number {
  return quota === undefined ? Number.POSITIVE_INFINITY : Number.parseInt(quota, 10) * factor(BYTES, quota)
}

const MILLISECONDS = new Map([
  ['s', 1000],
  ['min', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000]
])

/** How long a plan's credentials work, in milliseconds; undefined: until they are unbound. */
export function lifetimeMs({ binding_lifetime: lifetime }: Pick<PlanOptions, 'binding_lifetime'>): number | undefined {
  return lifetime === undefined ? undefined : Number.parseInt(lifetime, 10) * factor(MILLISECONDS, lifetime)
}

function factor(units: ReadonlyMap<string, number>, text: string): number {
  const unit = text.replace(/^[0-9]+/, '')
  const value = units.get(unit)
  if (value === undefined) throw new Error(`"${unit}" is no unit of ${[...units.keys()].join(', ')}.`)
  return value
}
