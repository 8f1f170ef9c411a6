import type { Busy } from './busy.ts'
import { median, type Spread, spread } from './statistics.ts'

/** What one side has done once: the figure, in the unit of the comparison, and who was busy meanwhile. */
export interface Sample {
  readonly value: number
  readonly busy?: Busy
}

/** One side of a comparison: does it once. */
export type Measure = () => Promise<Sample>

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
  readonly ours: Sample
  readonly baseline: Sample
  readonly ratio: Spread
  readonly rounds: readonly Round[]
}

interface Round {
  readonly ours: Sample
  readonly baseline: Sample
}

/**
 * Measures both sides in turn, so that what happens to the machine meanwhile happens to both. A first round warms up and does
 * not count; who comes first changes with every round.
 */
export async function compare({ ours, baseline, unit }: Comparison, count: number): Promise<Result> {
  const rounds: Round[] = []
  for (let round = 0; round <= count; round += 1) {
    const oursFirst = round % 2 === 1 ? await ours() : undefined
    const ofBaseline = await baseline()
    const ofOurs = oursFirst ?? (await ours())
    if (round > 0) rounds.push({ ours: ofOurs, baseline: ofBaseline })
  }
  return {
    unit,
    ours: middle(rounds.map((round) => round.ours)),
    baseline: middle(rounds.map((round) => round.baseline)),
    ratio: spread(rounds.map((round) => round.ours.value / round.baseline.value)),
    rounds
  }
}

function middle(samples: readonly Sample[]): Sample {
  const value = median(samples.map((sample) => sample.value))
  const busy = samples.flatMap((sample) => sample.busy ?? [])
  if (busy.length === 0) return { value }
  const ofAll = (part: keyof Busy) => {
    const shares = busy.flatMap((one) => one[part] ?? [])
    return shares.length === 0 ? {} : { [part]: median(shares) }
  }
  return { value, busy: { ...ofAll('server'), ...ofAll('load'), ...ofAll('database') } }
}
