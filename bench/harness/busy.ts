import { existsSync, readdirSync, readFileSync } from 'node:fs'

/**
 * Which share of one core each part had while load was on, 1 for all of it. Who is near 1 sets the pace; a server that is not,
 * with a load that is, would have done more. A part is missing where the system does not tell.
 */
export interface Busy {
  readonly server?: number
  readonly load?: number
  readonly database?: number
}

/** Of `/proc/PID/stat`, on all that Linux runs on here (USER_HZ). */
const TICKS_PER_SECOND = 100

/**
 * Processor time that a process and its children have used until now, in seconds; of children that are gone too, once their
 * parent has waited for them. `undefined` where there is no `/proc`, or no such process.
 */
export function processorSeconds(pid: number): number | undefined {
  const own = statOf(pid)
  if (own === undefined) return undefined
  const living = childrenOf(pid).reduce((ticks, child) => ticks + (statOf(child)?.ticks ?? 0), 0)
  return (own.ticks + own.ticksOfGone + living) / TICKS_PER_SECOND
}

/** Children that live, by `/proc`; empty where there is none. */
export function childrenOf(pid: number): readonly number[] {
  if (!existsSync('/proc/self/stat')) return []
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  return all.map(Number).filter((one) => statOf(one)?.parent === pid)
}

/** See proc_pid_stat(5): the name, which may hold anything, ends with the last bracket. */
function statOf(pid: number): { parent: number; ticks: number; ticksOfGone: number } | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ')
      .map(Number)
    const [, parent = 0] = fields
    const [user = 0, kernel = 0, userOfGone = 0, kernelOfGone = 0] = fields.slice(11)
    return { parent, ticks: user + kernel, ticksOfGone: userOfGone + kernelOfGone }
  } catch (error) {
    if (isMissing(error)) return undefined
    throw error
  }
}

/** Of a process that has ended, and where there is no `/proc`. */
function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ESRCH')
}
