import type { Call } from './calls.ts'
import type { Replica } from './replicas.ts'

/** A fault, from its beginning until it is over. */
export interface Struck {
  /** Absent where it strikes all. */
  readonly replica?: Replica
  readonly from: number
  to: number
}

/** Recovery after a fault: the lease has to end, and another replica has to see it. */
const AFTERMATH_MS = 12_000

/** When what went wrong, for checks that excuse what a fault explains. */
export class Timeline {
  readonly #struck: Struck[] = []

  begin(replica?: Replica): Struck {
    const struck = {
      from: Date.now(),
      to: Number.POSITIVE_INFINITY,
      ...(replica === undefined ? {} : { replica })
    }
    this.#struck.push(struck)
    return struck
  }

  /** Whether anything struck the replica, or all, during the interval or shortly before it. */
  isDisturbed(replica: Replica, from: number, to: number): boolean {
    return this.#struck.some(
      (struck) =>
        (struck.replica === undefined || struck.replica === replica) &&
        struck.from <= to &&
        struck.to + AFTERMATH_MS >= from
    )
  }
}

/** Which replica's process made the call. */
export function replicaOf(call: Call, replicas: readonly Replica[]): Replica | undefined {
  return replicas.find((replica) => replica.pids.has(call.pid))
}
