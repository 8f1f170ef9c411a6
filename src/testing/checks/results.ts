import type { JsonObject } from '../../../schemas/common.ts'
import { optionsValidator } from '../../core/catalog/provider-rules.ts'
import { permittedBinding, permittedInstance } from '../../core/results.ts'
import type { ProviderContractOptions, Rule } from '../contract.ts'
import { ContractViolation, must } from '../violation.ts'
import { provisioned } from './instances.ts'
import { succeeds } from './interruptions.ts'

/** What a provider answers and tells. */
export function resultChecks({ provider }: ProviderContractOptions): readonly Rule[] {
  const instanceRules: Rule[] = [
    {
      name: 'options: the schema takes those of the plan',
      async run({ options: { options = {}, update } }) {
        const takes = optionsValidator(provider)
        for (const tried of [options, update?.options ?? options]) {
          must(takes(tried), `provider.options does not take ${JSON.stringify(tried)}`)
        }
      }
    },
    {
      name: 'provision: its answer can be passed on',
      async run(stage) {
        const { result = {} } = await succeeds('provision', stage.instance().provision())
        passes(() => permittedInstance(result))
      }
    }
  ]
  if (provider.bind === undefined) return instanceRules
  return [
    ...instanceRules,
    {
      name: 'bind: its answer can be passed on',
      async run(stage) {
        const instance = await provisioned(stage)
        const { result = {} } = await succeeds('bind', instance.bind('b-1'))
        const { requires = [], keepCredentials = true } = stage.options
        passes(() => permittedBinding({ requires, endpoints: true, keepCredentials }, result, instance.stateOf('b-1')))
      }
    },
    {
      name: 'bind: its secrets are told to nobody else',
      async run(stage) {
        const instance = await provisioned(stage)
        const { result } = await succeeds('bind', instance.bind('b-1'))
        await succeeds('unbind', instance.unbind('b-1'))
        for (const secret of secretsIn(result?.credentials ?? {})) {
          const found = stage.told.some((text) => text.includes(secret))
          must(!found, 'a secret of the credentials is in a progress text, a log line or an error')
        }
      }
    }
  ]
}

function passes(check: () => unknown): void {
  try {
    check()
  } catch (error) {
    throw new ContractViolation(error instanceof Error ? error.message : String(error), { cause: error })
  }
}

const SECRET_NAMES = /pass|secret|token|key|uri|url/i

/** Texts that are secrets by the name of their field; short ones would be found by chance. */
function secretsIn(value: JsonObject): string[] {
  return Object.entries(value).flatMap(([name, item]) => {
    if (typeof item === 'object' && item !== null) return secretsIn({ ...item })
    return typeof item === 'string' && item.length >= 8 && SECRET_NAMES.test(name) ? [item] : []
  })
}
