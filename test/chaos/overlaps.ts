import type { Call } from './calls.ts'
import { STATEMENT_MS } from './outside.ts'
import type { Replica } from './replicas.ts'
import { obeys } from './script.ts'

/** How late an abort may come on a loaded machine. */
const LATE_MS = 2_500

export interface Overlaps {
  readonly violations: string[]
  readonly longestMs: number
}

interface Interval {
  readonly from: number
  readonly to: number
}

/**
 * How long calls of one operation, or a delete and the create that it cancelled, ran on two processes at once before the
 * signal of the first aborted; and which calls went on after that. Calls that ignore their signals are left out, and so is
 * the time for which a process was stopped.
 */
export function overlapsOf(calls: readonly Call[], replicas: readonly Replica[]): Overlaps {
  const violations: string[] = []
  let longestMs = 0
  for (const group of groups(calls.filter(obeys))) {
    for (const [index, call] of group.entries()) {
      const afterMs = sum(
        activity(call, replicas).map((part) => part.to - Math.max(part.from, call.aborted ?? part.to))
      )
      // An aborted call still waits for its statement.
      if (afterMs > STATEMENT_MS + LATE_MS)
        violations.push(
          `${call.verb} ${call.operation} (attempt ${call.attempt}) went on for ${afterMs} ms after its abort`
        )
      for (const other of group.slice(index + 1)) {
        if (call.pid === other.pid) continue
        const ms = overlapMs(untilAbort(call, replicas), untilAbort(other, replicas))
        longestMs = Math.max(longestMs, ms)
        if (ms <= LATE_MS) continue
        violations.push(
          `${call.verb} ${call.operation} (attempt ${call.attempt}) and ${other.verb} ${other.operation} ` +
            `(attempt ${other.attempt}) of ${call.instance} ran at once for ${ms} ms`
        )
      }
    }
  }
  return { violations, longestMs }
}

/** Calls that must not overlap: those about the same instance or the same binding. */
function groups(calls: readonly Call[]): Call[][] {
  const groups = Object.groupBy(calls, ({ instance, binding = '' }) => `${instance}/${binding}`)
  return Object.values(groups).filter((group) => group !== undefined)
}

/** When the call could act: from its beginning to its end, or that of its process, except while it was stopped. */
function activity(call: Call, replicas: readonly Replica[]): Interval[] {
  const replica = replicas.find(({ pids }) => pids.has(call.pid))
  const exit = replica?.exits.find(({ pid }) => pid === call.pid)?.at ?? Date.now()
  let intervals: Interval[] = [{ from: call.began, to: Math.min(call.ended ?? exit, exit) }]
  for (const freeze of replica?.freezes.filter(({ pid }) => pid === call.pid) ?? []) {
    intervals = intervals.flatMap(({ from, to }) => [
      { from, to: Math.min(to, freeze.from) },
      { from: Math.max(from, freeze.to), to }
    ])
  }
  return intervals.filter(({ from, to }) => to > from)
}

function untilAbort(call: Call, replicas: readonly Replica[]): Interval[] {
  const { aborted = Number.POSITIVE_INFINITY } = call
  return activity(call, replicas).map(({ from, to }) => ({ from, to: Math.min(to, aborted) }))
}

function overlapMs(one: readonly Interval[], other: readonly Interval[]): number {
  const shared = one.flatMap((a) => other.map((b) => Math.min(a.to, b.to) - Math.max(a.from, b.from)))
  return sum(shared)
}

function sum(times: readonly number[]): number {
  return times.filter((ms) => ms > 0).reduce((total, ms) => total + ms, 0)
}
