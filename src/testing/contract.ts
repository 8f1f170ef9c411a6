import type { JsonObject } from '../../schemas/common.ts'
import { filledOptions } from '../core/catalog/provider-rules.ts'
import type { ServiceProvider } from '../core/provider.ts'
import { bindingChecks } from './checks/bindings.ts'
import { instanceChecks } from './checks/instances.ts'
import { resultChecks } from './checks/results.ts'
import { updateChecks } from './checks/updates.ts'
import { Stage } from './stage.ts'

/** What a provider is to be tried with. */
export interface ProviderContractOptions {
  /** The provider, as the broker would get it. `start` and `stop` are the caller's. */
  readonly provider: ServiceProvider
  /** `x-broker.options` of the plan, the provider's defaults filled in as the catalog does; default `{}`. */
  readonly options?: JsonObject
  /** Parameters of the provision; default `{}`. */
  readonly parameters?: JsonObject
  /** Parameters of the binds; default `{}`. */
  readonly bindParameters?: JsonObject
  /** What the update asks for; default: what there is already. */
  readonly update?: { readonly options?: JsonObject; readonly parameters?: JsonObject }
  /** The plan's `x-broker.keep_credentials`; default `true`. With `false` a state with credentials in it is a violation. */
  readonly keepCredentials?: boolean
  /** The offering's `requires`; default none. */
  readonly requires?: readonly ('syslog_drain' | 'route_forwarding' | 'volume_mount')[]
  /** Names of all that is outside now, such as databases and logins; default: what the provider's `inventory` lists. */
  readonly leftovers?: () => Promise<readonly string[]>
  /** Whether credentials let one in. Without it only leftovers tell whether an unbind has worked. */
  readonly works?: (credentials: JsonObject) => Promise<boolean>
  /** How long an aborted function may take to let go, in milliseconds; default 2,000. */
  readonly abortWithinMs?: number
}

/** One rule of the contract, tried out. */
export interface ContractCheck {
  /** `provision: a crash at any step, then repeated, ends in the same place` */
  readonly name: string
  /** @throws {ContractViolation} when the provider breaks the rule */
  run(): Promise<void>
}

/** A check before it knows its provider. */
export interface Rule {
  readonly name: string
  run(stage: Stage): Promise<void>
}

/** The rules of `docs/providers.md` as checks, for any test runner; see {@link testProvider} for that of Node. */
export function providerContract(given: ProviderContractOptions): readonly ContractCheck[] {
  const options = withDefaults(given)
  const { provider } = options
  const rules: Rule[] = [
    ...resultChecks(options),
    ...instanceChecks,
    ...(provider.update === undefined ? [] : updateChecks),
    ...(provider.bind === undefined ? [] : bindingChecks)
  ]
  return rules.map(({ name, run }) => ({
    name,
    async run() {
      const stage = new Stage(options)
      try {
        await run(stage)
      } finally {
        await stage.clear()
      }
    }
  }))
}

function withDefaults({ options = {}, update, ...rest }: ProviderContractOptions): ProviderContractOptions {
  const filled = (values: JsonObject) => filledOptions(values, rest.provider)
  const updated = update?.options === undefined ? update : { ...update, options: filled(update.options) }
  return { ...rest, options: filled(options), ...(updated === undefined ? {} : { update: updated }) }
}
