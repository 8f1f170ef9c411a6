import type { ChaosScene } from './chaos-scene.ts'
import type { Group, SharedFault } from './faults.ts'
import type { Random } from './random.ts'

/** The supervisor of the embedded server gives up after five deaths within a minute. */
const BETWEEN_RESTARTS_MS = 20_000

/** Ends the database server, which comes back by itself. */
export function serverFaults(scene: ChaosScene, _random: Random, chosen: ReadonlySet<Group>): SharedFault[] {
  if (!chosen.has('server')) return []
  // SIGQUIT loses what was not synced; SIGINT ends all sessions and shuts down.
  const end = (signal: 'SIGQUIT' | 'SIGINT') => async () => {
    process.kill(scene.postgres.pid, signal)
  }
  return [
    { name: 'server crashed', everyMs: BETWEEN_RESTARTS_MS * 2, strike: end('SIGQUIT') },
    { name: 'server restarted', everyMs: BETWEEN_RESTARTS_MS * 2, strike: end('SIGINT') }
  ]
}
