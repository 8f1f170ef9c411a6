import type { StandingInstance, WatchRound } from '../../../core/provider.ts'
import { alone } from '../alone.ts'
import { faultOf, logFault } from '../faults.ts'
import type { Place } from '../instances.ts'
import {
  type InstanceNames,
  type InstanceState,
  instanceNames,
  loginName,
  readBindingState,
  readInstanceState
} from '../names.ts'
import { planOptions, quotaBytes } from '../plan-options.ts'
import { loginsOf } from '../roles.ts'
import type { AdminServer } from '../server.ts'
import type { Servers } from '../servers.ts'
import { close, lift, lock } from './lock.ts'
import { type Usage, usageOf } from './usage.ts'

/** A lock is lifted a little below the quota: at the quota itself it would come and go. */
const LIFT_SHARE = 0.95
/** What a locked database may grow by, through what runs in the background, before it is closed. */
const GROWTH_SHARE = 0.1
const GROWTH_BYTES = 16 * 1024 ** 2

interface Watched {
  readonly instanceId: string
  readonly state: InstanceState
  readonly names: InstanceNames
  readonly quota: number
}

/** Locks the instances whose storage is used up, and lifts the locks of those that have room again. */
export async function watchStorage(servers: Servers, round: WatchRound): Promise<void> {
  const byServer = new Map<AdminServer, Watched[]>()
  for await (const instance of round.instances()) {
    const watched = watchedOf(instance)
    if (watched === undefined) continue
    const server = servers.of(watched.state, round.log)
    byServer.set(server, [...(byServer.get(server) ?? []), watched])
  }
  for (const [server, instances] of byServer) {
    try {
      await watchServer(server, instances, round)
    } catch (error) {
      round.signal.throwIfAborted()
      const fault = faultOf(error)
      if (fault === undefined) throw error
      logFault(round.log, fault, error)
    }
  }
}

function watchedOf({ instanceId, options, state }: StandingInstance): Watched | undefined {
  const saved = readInstanceState(state)
  if (saved === undefined) return undefined
  return { instanceId, state: saved, names: instanceNames(saved), quota: quotaBytes(planOptions(options)) }
}

/** Databases that one statement looks at: each size is read from the disk. */
const BATCH = 200

async function watchServer(server: AdminServer, instances: readonly Watched[], round: WatchRound): Promise<void> {
  await server.ready()
  const reader = { query: server.read.bind(server) }
  const concerned = await withQuotaOrLock(server, instances)
  for (let from = 0; from < concerned.length; from += BATCH) {
    const batch = concerned.slice(from, from + BATCH)
    const usages = await usageOf(
      reader,
      batch.map(({ names }) => names)
    )
    for (const watched of batch) {
      const usage = usages.get(watched.names.database)
      if (usage === undefined || stepFor(usage, watched.quota) === undefined) continue
      await act(server, watched, round)
    }
  }
}

/** A plan without a quota needs no look at sizes, unless the lock of the plan before has to be lifted. */
async function withQuotaOrLock(server: AdminServer, instances: readonly Watched[]): Promise<Watched[]> {
  const locked = await server.read<{ owner: string }>(
    'SELECT rolname::text AS owner FROM pg_roles WHERE rolname = ANY ($1) AND rolconnlimit >= 0',
    [instances.map(({ names }) => names.owner)]
  )
  const owners = new Set(locked.map(({ owner }) => owner))
  return instances.filter(({ names, quota }) => Number.isFinite(quota) || owners.has(names.owner))
}

type Step = 'lock' | 'lift' | 'close'

/** What has to be done about an instance; undefined: nothing. */
export function stepFor(usage: Usage, quota: number): Step | undefined {
  const { bytes, lockedAtBytes, open, writable } = usage
  if (lockedAtBytes === undefined) return bytes > quota ? 'lock' : undefined
  if (bytes <= quota * LIFT_SHARE) return 'lift'
  if (!open) return undefined
  if (bytes > lockedAtBytes + Math.max(GROWTH_BYTES, lockedAtBytes * GROWTH_SHARE)) return 'close'
  return writable ? 'lock' : undefined
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
    // One that somebody has dropped is the repair's affair
    const there = await loginsOf(maintenance, watched.names)
    const logins = ownerLogins(instance).filter((login) => there.includes(login))
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

function ownerLogins({ bindings }: StandingInstance): string[] {
  return bindings.flatMap(({ state, settled }) => {
    const binding = readBindingState(state)
    return settled && binding?.role === 'owner' ? [loginName(binding)] : []
  })
}
