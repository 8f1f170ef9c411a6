import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedPostgresError } from './errors.ts'
import type { Postmaster } from './server.ts'

/** What the supervisor does with a server. */
export interface SupervisorActions {
  start: () => Promise<Postmaster>
  stop: (postmaster: Postmaster) => Promise<void>
  log: (line: string) => void
  /** Called once, when the server kept dying and is not started again. */
  onExit: (error: EmbeddedPostgresError) => void
}

/** Keeps a server running. */
export interface Supervisor {
  readonly pid: number
  stop: () => Promise<void>
}

const maxFailures = 5
const withinMs = 60_000
const firstPauseMs = 100

/** Starts the server again whenever it dies, with growing pauses, up to five times in a minute. */
export function supervise(first: Postmaster, actions: SupervisorActions): Supervisor {
  const stopping = new AbortController()
  let current: Postmaster | undefined = first
  let pid = first.pid
  let stopped: Promise<void> | undefined

  const watching = watch()
  return {
    get pid() {
      return pid
    },
    stop: () => {
      stopped ??= stop()
      return stopped
    }
  }

  async function stop(): Promise<void> {
    stopping.abort()
    // Without a server, a restart may be in progress; it ends with one that has to go too.
    if (current === undefined) await watching
    if (current !== undefined) await actions.stop(current)
  }

  async function watch(): Promise<void> {
    const failures: number[] = []
    while (current !== undefined) {
      let reason = await current.gone
      current = undefined
      while (current === undefined) {
        if (stopping.signal.aborted) return
        failures.push(Date.now())
        const recent = failures.filter((time) => time > Date.now() - withinMs).length
        if (recent > maxFailures) {
          giveUp(reason)
          return
        }
        actions.log(`embedded PostgreSQL died (${reason}), starting it again`)
        await delay(firstPauseMs * 2 ** (recent - 1), undefined, { ref: false, signal: stopping.signal }).catch(
          () => undefined
        )
        if (stopping.signal.aborted) return
        try {
          current = await actions.start()
          pid = current.pid
          actions.log(`embedded PostgreSQL runs again (pid ${pid})`)
        } catch (error) {
          reason = error instanceof Error ? error.message : String(error)
        }
      }
      if (stopping.signal.aborted) return
    }
  }

  function giveUp(reason: string): void {
    const message = `The embedded PostgreSQL died more than ${maxFailures} times within a minute and stays down: ${reason}`
    actions.log(message)
    actions.onExit(new EmbeddedPostgresError('gave-up', message))
  }
}
