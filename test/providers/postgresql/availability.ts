import { floods } from './availability-floods.ts'
import { catalogQueues, databaseQueues, holders } from './availability-locks.ts'
import { removals } from './availability-removals.ts'
import type { Script } from './hostile-session.ts'

/** Names that attacks on availability are about; all of them are visible to every tenant. */
export interface AvailabilityTargets {
  readonly database: string
  readonly login: string
  readonly victimDatabase: string
  readonly victimOwner: string
  readonly victimReader: string
  readonly victimLogin: string
  readonly stateDatabase: string
  readonly maintenanceDatabase: string
}

/** What a tenant does to keep others, or the broker, from their work. */
export interface AvailabilityAttack {
  readonly name: string
  /** Before the sessions begin, as the owner; each statement of its own. */
  readonly setup?: readonly string[]
  readonly scripts: readonly Script[]
  /** Things that are done on sockets, without a login. */
  readonly sockets?: SocketFlood
  /** PostgreSQL refuses every step of every script at once: then that is the defence. */
  readonly refused?: true
  /** Needs `max_prepared_transactions` above 0. */
  readonly prepared?: true
}

export interface SocketFlood {
  readonly count: number
  readonly how: 'silent' | 'cancel' | 'garbage' | 'half a startup' | 'half a login'
}

/** Parts of the attacks; each has test files of its own. */
export const availabilityParts = ['databases', 'catalogs', 'holders', 'removals', 'floods'] as const
export type AvailabilityPart = (typeof availabilityParts)[number]

/** Every attack on availability, by what it uses. */
export function availabilityAttacks(
  targets: AvailabilityTargets
): Readonly<Record<AvailabilityPart, readonly AvailabilityAttack[]>> {
  return {
    databases: databaseQueues(targets),
    catalogs: catalogQueues(),
    holders: holders(targets),
    removals: removals(targets),
    floods: floods(targets)
  }
}

/** For the names of the attacks, which need no real targets. */
export const namesOnly: AvailabilityTargets = {
  database: 'own',
  login: 'login',
  victimDatabase: 'victim',
  victimOwner: 'victim_owner',
  victimReader: 'victim_reader',
  victimLogin: 'victim_login',
  stateDatabase: 'state',
  maintenanceDatabase: 'postgres'
}
