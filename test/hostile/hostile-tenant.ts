import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from '../chaos/random.ts'
import { STATE_DATABASE } from '../chaos/scene.ts'
import { Attacker } from '../providers/postgresql/attacker.ts'
import {
  type AvailabilityAttack,
  type AvailabilityTargets,
  availabilityAttacks
} from '../providers/postgresql/availability.ts'
import { HostileBindings } from './hostile-bindings.ts'
import type { HostileScene } from './hostile-scene.ts'
import type { Journal } from './journal.ts'
import { BOUND_MS, Requests } from './requests.ts'

/** How long an attack goes on after it has begun, and how long it may take to begin. */
const ON_MS = 5_000
const BEGIN_MS = 10_000
const LOOK_MS = 100

export interface Attacking {
  readonly scene: HostileScene
  readonly journal: Journal
  readonly random: Random
  /** The name of the attack to do next; undefined at the end of the run. */
  readonly next: () => string | undefined
}

/** Attacks one after another, each from a new instance, which is removed while the attack is still on. */
export async function attackOnAndOn({ scene, journal, random, next }: Attacking): Promise<void> {
  const requests = new Requests(scene.client('hostile'))
  for (let name = next(); name !== undefined; name = next()) {
    const instanceId = randomUUID()
    await attackOnce({ requests, scene, journal, random, name, instanceId })
    // What an attack kept from being removed is removed after it.
    const failed = (error: unknown) => journal.fail(`deprovision after ${name}: ${error}`)
    await requests.deprovision(instanceId).catch(failed)
  }
}

interface Attack extends Omit<Attacking, 'next'> {
  readonly requests: Requests
  readonly name: string
  readonly instanceId: string
}

async function attackOnce({ requests, scene, journal, random, name, instanceId }: Attack): Promise<void> {
  const asked = <T>(kind: string, work: () => Promise<T>) => journal.honestly(`${kind} of the attacker`, BOUND_MS, work)
  await asked('provision', () => requests.provision(instanceId))
  const bindings = await HostileBindings.of({ requests, instanceId, asked })
  if (bindings === undefined) return
  const attacker = new Attacker(named(await chooseTargets(scene, random, bindings.owner), name), bindings)
  journal.attackStarts(name)
  try {
    await attacker.start()
    if (await until(BEGIN_MS, () => attacker.isOn(scene.sql).catch(() => false))) journal.attackBegins(name)
    // The guard suspends the logins of an attack that goes on; the tenant goes on with new ones.
    await until(ON_MS, async () => {
      for (const binding of ['owner', 'reader'] as const) {
        if (!attacker.isShutOut(binding)) continue
        journal.renewed(name)
        await bindings.renew(binding)
      }
      return false
    })
    await asked('unbind', () => bindings.unbind('owner'))
    await asked('deprovision', () => requests.deprovision(instanceId))
  } catch (error) {
    // An attacker that is stopped before it has prepared its attack is what the guard is for.
    journal.attackRefused(name, error)
  } finally {
    await attacker.stop()
    journal.attackEnds(name, attacker.outcome)
  }
}

/** Whether the condition was met in time. */
async function until(ms: number, condition: () => Promise<boolean>): Promise<boolean> {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(LOOK_MS)) if (await condition()) return true
  return false
}

function named(targets: AvailabilityTargets, name: string): AvailabilityAttack {
  const attack = Object.values(availabilityAttacks(targets))
    .flat()
    .find((known) => known.name === name)
  if (attack === undefined) throw new Error(`There is no attack ${JSON.stringify(name)}.`)
  return attack
}

/** Another tenant's database, of those that every tenant can see. */
async function chooseTargets(scene: HostileScene, random: Random, uri: string): Promise<AvailabilityTargets> {
  const { pathname, username } = new URL(uri)
  const database = pathname.slice(1)
  const rows = await scene
    .sql(
      `SELECT d.datname::text AS database, coalesce(min(r.rolname), 'osb_tenant')::text AS login FROM pg_database AS d
     LEFT JOIN pg_roles AS r ON starts_with(r.rolname, 'osb_b_' || substr(d.datname, 7))
     WHERE d.datname ~ '^osb_d_' AND d.datname <> $1 GROUP BY d.datname`,
      [database]
    )
    .catch(() => [])
  const victim = rows.length === 0 ? { database, login: username } : random.pick(rows)
  const token = String(victim.database).slice(6)
  return {
    database,
    login: username,
    victimDatabase: String(victim.database),
    victimOwner: `osb_o_${token}`,
    victimReader: `osb_r_${token}`,
    victimLogin: String(victim.login),
    stateDatabase: STATE_DATABASE,
    maintenanceDatabase: 'postgres'
  }
}
