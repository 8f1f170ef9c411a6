import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'

const Duration = (name: string, fallback: string) =>
  Type.String({
    pattern: '^(0|[1-9][0-9]*(ms|s|min|h|d))$',
    default: fallback,
    description: `${name} of the database; 0 turns it off`
  })

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
export type PlanOptions = Static<typeof PlanOptions>

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

/** Fills in the defaults. */
export function planOptions(options: JsonObject): PlanOptions {
  const filled = Value.Default(PlanOptions, Value.Clone(options))
  if (!Value.Check(PlanOptions, filled)) throw new Error('The plan has options that this provider does not know.')
  return filled
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
