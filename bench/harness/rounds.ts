/** One side of a comparison: does it once and answers the figure, in the unit of the comparison. */
export type Measure = () => Promise<number>

/** What is compared within one run. */
export interface Comparison {
  readonly ours: Measure
  readonly baseline: Measure
  /** Of both figures: `requests/s`, `ms`, `MB`, … */
  readonly unit: string
}

/** Medians of the rounds, and the ratios of ours to the baseline, which were measured one right after the other. */
export interface Result {
  readonly unit: string
  readonly ours: number
  readonly baseline: number
  readonly ratio: Spread
  readonly rounds: readonly { readonly ours: number; readonly baseline: number }[]
}

export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/**
 * Measures both sides in turn, so that what happens to the machine meanwhile happens to both. A first round warms up and does
 * not count; who comes first changes with every round.
 */
export async function compare({ ours, baseline, unit }: Comparison, count: number): Promise<Result> {
  const rounds: { ours: number; baseline: number }[] = []
  for (let round = 0; round <= count; round += 1) {
    const pair = { ours: 0, baseline: 0 }
    const order = round % 2 === 0 ? (['baseline', 'ours'] as const) : (['ours', 'baseline'] as const)
    for (const side of order) pair[side] = await (side === 'ours' ? ours() : baseline())
    if (round > 0) rounds.push(pair)
  }
  const ratios = rounds.map((pair) => pair.ours / pair.baseline)
  return {
    unit,
    ours: median(rounds.map((pair) => pair.ours)),
    baseline: median(rounds.map((pair) => pair.baseline)),
    ratio: { median: median(ratios), low: Math.min(...ratios), high: Math.max(...ratios) },
    rounds
  }
}

/** @throws {RangeError} for no values */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.ceil((sorted.length - 1) / 2)]]
  if (low === undefined || high === undefined) throw new RangeError('no values have no median')
  return (low + high) / 2
}
