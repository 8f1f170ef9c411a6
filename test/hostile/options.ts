import { parseArgs } from 'node:util'

/** What the admin of the tenants' server is. */
export type Admin = 'superuser' | 'plain'

export interface HostileOptions {
  /** Of all kinds of admin together. */
  readonly minutes: number
  readonly admins: readonly Admin[]
  readonly attackers: number
  readonly honest: number
  readonly replicas: number
  readonly seed: number
  /** Attacks whose name holds this text; empty: all. */
  readonly only: string
}

/** @throws {TypeError} naming the option, what was given and what is allowed */
export function readOptions(args: readonly string[]): HostileOptions {
  const { values } = parseArgs({
    args: [...args],
    options: {
      minutes: { type: 'string', default: '10' },
      admin: { type: 'string', default: 'both' },
      attackers: { type: 'string', default: '3' },
      honest: { type: 'string', default: '3' },
      replicas: { type: 'string', default: '2' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      only: { type: 'string', default: '' }
    }
  })
  const number = (name: 'minutes' | 'attackers' | 'honest' | 'replicas' | 'seed') => {
    const value = Number(values[name])
    if (Number.isFinite(value) && value > 0) return value
    throw new TypeError(`--${name} is ${values[name]}: it must be a number above 0.`)
  }
  return {
    minutes: number('minutes'),
    admins: adminsOf(values.admin),
    attackers: number('attackers'),
    honest: number('honest'),
    replicas: number('replicas'),
    seed: number('seed'),
    only: values.only
  }
}

function adminsOf(name: string): readonly Admin[] {
  if (name === 'both') return ['superuser', 'plain']
  if (name === 'superuser' || name === 'plain') return [name]
  throw new TypeError(`--admin is ${JSON.stringify(name)}: it takes superuser, plain or both.`)
}
