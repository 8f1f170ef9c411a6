import { parseArgs } from 'node:util'
import { type Group, groups } from './faults.ts'

export interface ChaosOptions {
  readonly faults: number
  readonly minutes: number
  readonly clients: number
  readonly replicas: number
  readonly seed: number
  readonly only: ReadonlySet<Group>
}

/** @throws {TypeError} naming the option, what was given and what is allowed */
export function readOptions(args: readonly string[]): ChaosOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      faults: { type: 'string', default: '1000' },
      minutes: { type: 'string', default: '30' },
      clients: { type: 'string', default: '10' },
      replicas: { type: 'string', default: '3' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      only: { type: 'string', default: groups.join(',') }
    }
  })
  const number = (name: 'faults' | 'minutes' | 'clients' | 'replicas' | 'seed') => {
    const value = Number(values[name])
    if (!Number.isFinite(value) || value <= 0)
      throw new TypeError(`--${name} is ${values[name]}: it must be a number above 0.`)
    return value
  }
  return {
    faults: number('faults'),
    minutes: number('minutes'),
    clients: number('clients'),
    replicas: number('replicas'),
    seed: number('seed'),
    only: new Set(values.only.split(',').map(groupOf))
  }
}

function groupOf(name: string): Group {
  const group = groups.find((known) => known === name.trim())
  if (group === undefined) throw new TypeError(`--only has ${JSON.stringify(name)}: it takes ${groups.join(', ')}.`)
  return group
}
