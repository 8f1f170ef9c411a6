import type { ChaosScene } from './chaos-scene.ts'
import type { Group, SharedFault } from './faults.ts'
import type { Random } from './random.ts'

/** The supervisor of the embedded server gives up after five deaths within a minute. */
const BETWEEN_RESTARTS_MS = 40_000
const BETWEEN_FAILOVERS_MS = 60_000

/** Ends the database server, which comes back by itself, or whose standby takes its place. */
export function serverFaults(scene: ChaosScene, random: Random, chosen: ReadonlySet<Group>): SharedFault[] {
  const { servers } = scene
  const { failOver } = servers
  const faults: SharedFault[] = []
  if (chosen.has('server')) {
    faults.push(
      // SIGQUIT loses what was not synced; SIGINT ends all sessions and shuts down.
      { name: 'server crashed', everyMs: BETWEEN_RESTARTS_MS, strike: () => servers.end('SIGQUIT') },
      { name: 'server restarted', everyMs: BETWEEN_RESTARTS_MS, strike: () => servers.end('SIGINT') }
    )
  }
  if (failOver !== undefined) {
    faults.push({
      name: 'primary killed, standby promoted',
      everyMs: BETWEEN_FAILOVERS_MS,
      strike: () => failOver(random.between(0, 3_000), () => scene.moveTenants())
    })
  }
  return faults
}
