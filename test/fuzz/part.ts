/** How much is sent, and which. */
export interface Extent {
  readonly requests: number
  readonly seed: number
  /** Of a failure that is to be repeated. */
  readonly path?: string | undefined
}

/** What was found, made as short as could be. */
export interface Failure {
  /** With the seed, it leads to the example again. */
  readonly path: string
  readonly message: string
  readonly example: readonly string[]
}

/** What came of one part of a run. */
export interface Part {
  readonly seed: number
  readonly sent: number
  /** How often each endpoint was answered with each status. */
  readonly answers: ReadonlyMap<string, number>
  readonly failure?: Failure
}

/** How long a failure is made shorter: one that depends on time would never be done. */
const SHRINK_MS = 10_000

/** The attempts of a property; some time after the first failure nothing fails any more, and the shortest is known. */
export function attempts<Values extends unknown[]>(attempt: (...values: Values) => Promise<void>): typeof attempt {
  let until: number | undefined
  return async (...values) => {
    if (until !== undefined && Date.now() > until) return
    try {
      await attempt(...values)
    } catch (error) {
      until ??= Date.now() + SHRINK_MS
      throw error
    }
  }
}
