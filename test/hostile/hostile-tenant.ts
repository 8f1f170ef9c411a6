import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OsbClient } from '../../src/client/index.ts'
import type { Random } from '../chaos/random.ts'
import { STATE_DATABASE } from '../chaos/scene.ts'
import { Attacker } from '../providers/postgresql/attacker.ts'
import {
  type AvailabilityAttack,
  type AvailabilityTargets,
  availabilityAttacks
} from '../providers/postgresql/availability.ts'
import { BOUND_MS, Requests } from './honest-tenant.ts'
import type { HostileScene } from './hostile-scene.ts'
import type { Journal } from './journal.ts'

/** How long an attack goes on after it has begun, and how long it may take to begin. */
const ON_MS = 3_000
const BEGIN_MS = 10_000

export interface Attacking {
  readonly scene: HostileScene
  readonly journal: Journal
  readonly random: Random
  /** The names of the attacks to do, in their order; the list begins anew at its end. */
  readonly names: readonly string[]
  readonly goOn: () => boolean
}

/** Attacks one after another, each from a new instance, which is removed while the attack is still on. */
export async function attackOnAndOn({ scene, journal, random, names, goOn }: Attacking): Promise<void> {
  const client = scene.client('hostile')
  for (let turn = 0; goOn(); turn += 1) {
    const name = names[turn % names.length]
    if (name === undefined) return
    await attackOnce(client, { scene, journal, random, name, goOn })
  }
}

async function attackOnce(
  client: OsbClient,
  { scene, journal, random, name, goOn }: Omit<Attacking, 'names'> & { readonly name: string }
): Promise<void> {
  const requests = new Requests(client)
  const [instanceId, owner, reader] = [randomUUID(), randomUUID(), randomUUID()]
  const asked = <T>(kind: string, work: () => Promise<T>) => journal.honestly(`${kind} of the attacker`, BOUND_MS, work)
  await asked('provision', () => requests.provision(instanceId))
  const uri = await asked('bind', () => requests.bind(instanceId, owner))
  const readerUri = await asked('bind', () => requests.bind(instanceId, reader, { role: 'reader' }))
  if (uri !== undefined && readerUri !== undefined) {
    const targets = await chooseTargets(scene, random, uri)
    const attacker = new Attacker(named(targets, name), { owner: uri, reader: readerUri })
    journal.attackBegins(name)
    try {
      await attacker.start()
      await begun(attacker, scene, goOn)
      await sleep(ON_MS)
      await asked('unbind', () => requests.unbind(instanceId, owner))
      await asked('deprovision', () => requests.deprovision(instanceId))
    } catch (error) {
      // An attacker that is stopped before it has prepared its attack is what the guard is for.
      journal.attackRefused(name, error)
    } finally {
      await attacker.stop()
      journal.attackEnds(name, attacker.outcome)
    }
  }
  // What an attack kept from being removed is removed after it.
  await requests.deprovision(instanceId).catch((error: unknown) => journal.fail(`deprovision after ${name}: ${error}`))
}

async function begun(attacker: Attacker, scene: HostileScene, goOn: () => boolean): Promise<void> {
  const end = Date.now() + BEGIN_MS
  while (goOn() && Date.now() < end) {
    if (await attacker.isOn(scene.sql).catch(() => false)) return
    await sleep(100)
  }
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
