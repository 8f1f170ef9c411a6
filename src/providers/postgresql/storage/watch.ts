import type { JsonObject } from '../../../../schemas/common.ts'
import { type StandingInstance, Unavailable, type WatchRound } from '../../../core/provider.ts'
import { alone } from '../alone.ts'
import { faultOf, logFault } from '../faults.ts'
import type { Place } from '../instances.ts'
import { type InstanceNames, type InstanceState, instanceNames, NAME_PATTERNS, readInstanceState } from '../names.ts'
import { planOptions, quotaBytes } from '../plan-options.ts'
import type { AdminServer } from '../server.ts'
import type { Servers } from '../servers.ts'
import { close } from './closing.ts'
import { lift, lock } from './lock.ts'
import { Reclaim, type Reclaimable } from './reclaim.ts'
import { ownerLogins, type Step, stepFor } from './steps.ts'
import { usageOf } from './usage.ts'

interface Watched {
  readonly instanceId: string
  readonly state: InstanceState
  readonly names: InstanceNames
  readonly quota: number
}

/** An instance that stays locked. */
interface Full extends Reclaimable {
  readonly watched: Watched
}

/** Databases that one statement looks at: each size is read from the disk. */
const BATCH = 200
/** How often all instances are searched for one whose owner is locked, in milliseconds. */
const SEARCH_MS = 3_600_000

/**
 * Locks the instances whose storage is used up, and lifts the locks of those that have room again. Only instances of plans
 * with a quota are read.
 */
export class StorageWatch {
  readonly #servers: Servers
  /** When all instances were searched in vain for a locked owner, by its name. */
  readonly #searched = new Map<string, number>()
  readonly #reclaim = new Reclaim()

  constructor(servers: Servers) {
    this.#servers = servers
  }

  async run(round: WatchRound): Promise<void> {
    const locked = await this.#lockedOwners(round)
    const full: Full[] = []
    const where = (options: JsonObject) => Number.isFinite(quotaOf(options))
    const wanted = ({ names }: Watched) => {
      locked.delete(names.owner)
      return true
    }
    await this.#visit(round, round.instances({ where, bindings: false }), { wanted, full })
    await this.#lift(round, locked)
    // The others first: they must not wait until the tables of one instance are rewritten
    for (const { server, watched } of await this.#reclaim.run(round, full)) {
      await guarded(round, async () => void (await watchBatch(server, [watched], round)))
    }
  }

  /** Lifts the lock of an instance that has moved to a plan without a quota, which {@link run} does not read. */
  async #lift(round: WatchRound, locked: Set<string>): Promise<void> {
    const now = performance.now()
    for (const [owner, at] of this.#searched) if (now - at >= SEARCH_MS) this.#searched.delete(owner)
    const owners = new Set([...locked].filter((owner) => !this.#searched.has(owner)))
    if (owners.size === 0) return
    for (const owner of owners) this.#searched.set(owner, now)
    // One that is found is searched again while it is locked: an operation on it may be in the way now.
    const wanted = ({ names }: Watched) => owners.has(names.owner) && this.#searched.delete(names.owner)
    await this.#visit(round, round.instances({ bindings: false }), { wanted })
  }

  /** Visits the wanted ones, in batches for each server, and adds to `full` those that stay locked. */
  async #visit(
    round: WatchRound,
    instances: AsyncIterable<StandingInstance>,
    { wanted, full = [] }: { wanted: (watched: Watched) => boolean; full?: Full[] }
  ): Promise<void> {
    const waiting = new Map<AdminServer, Watched[]>()
    const serverOf = this.#serverFinder(round)
    const visit = async (server: AdminServer, batch: readonly Watched[]) => {
      waiting.delete(server)
      await guarded(round, async () => {
        for (const watched of await watchBatch(server, batch, round)) {
          full.push({ server, watched, instanceId: watched.instanceId, names: watched.names })
        }
      })
    }
    for await (const instance of instances) {
      const watched = watchedOf(instance)
      if (watched === undefined || !wanted(watched)) continue
      const server = serverOf(watched.state)
      if (server === undefined) continue
      const batch = waiting.get(server) ?? []
      batch.push(watched)
      waiting.set(server, batch)
      if (batch.length === BATCH) await visit(server, batch)
    }
    for (const [server, batch] of waiting) await visit(server, batch)
  }

  /** Finds the server of an instance; undefined when it is not configured, which is logged once in a round. */
  #serverFinder({ log }: WatchRound): (state: InstanceState) => AdminServer | undefined {
    const missing = new Set<string | undefined>()
    return (state) => {
      if (missing.has(state.server)) return undefined
      try {
        return this.#servers.of(state, log)
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error
        missing.add(state.server)
        return undefined
      }
    }
  }

  /** The owners of locked instances on all servers that answer. */
  async #lockedOwners(round: WatchRound): Promise<Set<string>> {
    const owners = new Set<string>()
    for (const server of this.#servers.all()) {
      await guarded(round, async () => {
        await server.ready()
        const rows = await server.read<{ owner: string; token: string; shut: string | null }>(
          `SELECT r.rolname::text AS owner, locked.token,
                  (SELECT d.datname::text FROM pg_database AS d WHERE NOT d.datallowconn AND d.datconnlimit <> -2
                     AND (d.datname = 'osb_d_' || locked.token OR starts_with(d.datname, 'osb_d_' || locked.token || '_'))
                   LIMIT 1) AS shut
           FROM pg_roles AS r, LATERAL (SELECT substr(r.rolname, length('osb_o_') + 1) AS token) AS locked
           WHERE r.rolconnlimit >= 0 AND r.rolname ~ $1`,
          [NAME_PATTERNS.owner]
        )
        for (const { owner, token, shut } of rows) {
          owners.add(owner)
          if (shut !== null) await closeAnew(server, { ...instanceNames({ token }), database: shut }, round)
        }
      })
    }
    return owners
  }
}

/** Closes a database, which an earlier version has closed to the broker too, to its tenants alone. */
async function closeAnew(server: AdminServer, names: InstanceNames, round: WatchRound): Promise<void> {
  const run = (maintenance: Place['maintenance']) => close({ server, maintenance, names })
  await alone(server, round, { token: names.token, run })
}

/** A server that fails does not stop the others. */
async function guarded(round: WatchRound, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    round.signal.throwIfAborted()
    const fault = faultOf(error)
    if (fault === undefined) throw error
    logFault(round.log, fault, error)
  }
}

/** By the options of a plan, which all its instances share. */
const quotas = new WeakMap<JsonObject, number>()

function quotaOf(options: JsonObject): number {
  const known = quotas.get(options)
  if (known !== undefined) return known
  const quota = quotaBytes(planOptions(options))
  quotas.set(options, quota)
  return quota
}

function watchedOf({ instanceId, options, state }: StandingInstance): Watched | undefined {
  const saved = readInstanceState(state)
  if (saved === undefined) return undefined
  return { instanceId, state: saved, names: instanceNames(saved), quota: quotaOf(options) }
}

/** @returns the instances that stay locked */
async function watchBatch(server: AdminServer, batch: readonly Watched[], round: WatchRound): Promise<Watched[]> {
  await server.ready()
  const reader = { query: server.read.bind(server) }
  const usages = await usageOf(
    reader,
    batch.map(({ names }) => names)
  )
  const full: Watched[] = []
  for (const watched of batch) {
    const usage = usages.get(watched.names.database)
    if (usage === undefined) continue
    const step = stepFor(usage, watched.quota)
    if (step !== undefined) await act(server, watched, round)
    if (step !== 'lift' && usage.lockedAtBytes !== undefined) full.push(watched)
  }
  return full
}

/** Decides again, now that no task works on the instance. */
async function act(server: AdminServer, { instanceId, state }: Watched, round: WatchRound): Promise<void> {
  const run = async (maintenance: Place['maintenance']) => {
    const instance = await round.refresh(instanceId)
    const watched = instance === undefined ? undefined : watchedOf(instance)
    if (instance === undefined || watched === undefined) return
    const place = { server, maintenance, names: watched.names }
    const usage = (await usageOf(maintenance, [watched.names])).get(watched.names.database)
    const step = usage === undefined ? undefined : stepFor(usage, watched.quota)
    if (usage === undefined || step === undefined) return
    const logins = await ownerLogins(place, instance.bindings)
    if (step === 'lock') await lock(place, logins, usage.bytes)
    else if (step === 'lift') await lift(place, logins)
    else await close(place)
    round.log.warn({ instance: instanceId, bytes: usage.bytes, quota: watched.quota }, MESSAGES[step])
  }
  try {
    await alone(server, round, { token: state.token, run })
  } catch (error) {
    round.signal.throwIfAborted()
    round.log.warn({ err: error, instance: instanceId }, 'the storage quota of an instance could not be enforced')
  }
}

const MESSAGES: Record<Step, string> = {
  lock: 'the storage of an instance is used up: its bindings may only read and delete',
  lift: 'an instance has room again: its bindings may write',
  close: 'an instance grows although its storage is used up: it is closed'
}
