import { Kind } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { Ajv, type ValidateFunction } from 'ajv'
import formats from 'ajv-formats'
import type { JsonObject } from '../../../schemas/common.ts'
import { OWN_SCHEMA } from '../own-schema.ts'
import type { ServiceProvider } from '../provider.ts'
import { explain } from './explain.ts'
import { type Finding, isJsonObject } from './faults.ts'
import { flagOf, type PlanOutline, type ServiceOutline, textAt } from './outline.ts'

/** Whom the offerings of a catalog can be given to. */
export interface ProviderChoice {
  /** Those that `x-broker.provider` may name. */
  providers: readonly ServiceProvider[]
  /** For offerings that name none. */
  defaultProvider?: string | undefined
}

/** The provider of an offering, or what is wrong with the way it is named. */
export function providerOf(service: ServiceOutline, choice: ProviderChoice): ServiceProvider | Finding {
  const named = textAt(service.extension, 'provider')
  const name = named ?? choice.defaultProvider
  const at = [...service.at, 'x-broker', 'provider']
  const known = choice.providers.map((provider) => provider.name).join(', ')
  if (name === undefined || name === '') {
    return { at, message: `is required where BROKER_DEFAULT_PROVIDER is not set (known: ${known})` }
  }
  const found = choice.providers.find((provider) => provider.name === name)
  if (found !== undefined) return found
  const source = named === undefined ? ', given by BROKER_DEFAULT_PROVIDER,' : ''
  return { at, message: `${JSON.stringify(name)}${source} is not a known provider (known: ${known})` }
}

/** Whether {@link providerOf} found one. */
export function isProvider(found: ServiceProvider | Finding): found is ServiceProvider {
  return 'provision' in found
}

/** The catalog must not promise what the provider cannot do. */
export function abilityFindings(service: ServiceOutline, provider: ServiceProvider): Finding[] {
  const missing = (['bind', 'unbind'] as const).filter((verb) => provider[verb] === undefined)
  return service.plans.flatMap((plan) => [
    ...(missing.length > 0 && flagOf(service, plan, 'bindable')
      ? [inability(plan, 'bindable', `the provider "${provider.name}" has no ${missing.join(' and no ')}`)]
      : []),
    ...(provider.update === undefined && flagOf(service, plan, 'plan_updateable')
      ? [inability(plan, 'plan_updateable', `the provider "${provider.name}" has no update`)]
      : [])
  ])
}

/** The options of a plan, with the provider's defaults filled in. */
export function optionsOf(plan: PlanOutline, provider: ServiceProvider): JsonObject {
  return filledOptions(plan.extension.options ?? {}, provider)
}

/** Options with the provider's defaults filled in. */
export function filledOptions(options: unknown, provider: ServiceProvider): JsonObject {
  const filled: unknown = Value.Default(provider.options, Value.Clone(options))
  // It may be any JSON schema, of which TypeBox fills in but its own.
  optionsValidator(provider)(filled)
  return isJsonObject(filled) ? filled : {}
}

const validators = new WeakMap<ServiceProvider['options'], ValidateFunction>()

/** The provider's schema of options, compiled once; it also fills in defaults. */
export function optionsValidator({ options }: ServiceProvider): ValidateFunction {
  const known = validators.get(options)
  if (known !== undefined) return known
  const validate = formats.default(newOptionsAjv(options)).compile(options)
  validators.set(options, validate)
  return validate
}

/** A check of plans' options against the provider's schema. */
export function optionsChecker(provider: ServiceProvider): (plan: PlanOutline) => Finding[] {
  const validate = optionsValidator(provider)
  return (plan) => {
    const { options } = plan.extension
    // Of another type: the rule of the shape says so.
    if (options !== undefined && !isJsonObject(options)) return []
    const filled = optionsOf(plan, provider)
    const faults = validate(filled)
      ? (provider.optionFaults?.(filled) ?? []).map(({ option, message }) => ({ at: [option], message }))
      : explain(validate.errors ?? [], true)
    return faults.map(({ at, message }) => ({
      at: [...plan.at, 'x-broker', 'options', ...at],
      message: `${message} (by the provider "${provider.name}")`
    }))
  }
}

/** What TypeBox has built is a schema; what it was only given is held to the metaschema, which takes time to compile. */
function newOptionsAjv(options: ServiceProvider['options']): Ajv {
  const known = Kind in options && options[Kind] !== 'Unsafe' ? OWN_SCHEMA : {}
  return new Ajv({ ...known, useDefaults: true, allErrors: true, verbose: true, strict: false, logger: false })
}

function inability(plan: PlanOutline, flag: string, reason: string): Finding {
  return { at: [...plan.at, flag], message: `must not be true, by itself or from the offering: ${reason}` }
}
