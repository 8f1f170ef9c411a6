import { cpus, totalmem } from 'node:os'
import type { Figure } from './figure.ts'
import { pinned } from './processes.ts'
import type { Result } from './rounds.ts'

/** A figure and what this run has measured of it. */
export interface Measured {
  readonly figure: Figure
  readonly result: Result
}

/** In the short form a machine is noisy and amounts are small: only half of what should be, or twice, is a failure. */
const SLACK = 2

/** Whether the goal is reached; with slack, whether it is not missed by far. */
export function reached({ figure: { goal }, result: { ratio } }: Measured, slack = 1): boolean {
  return 'atLeast' in goal ? ratio.median >= goal.atLeast / slack : ratio.median <= goal.atMost * slack
}

export function missedByFar(measured: Measured): boolean {
  return !reached(measured, SLACK)
}

/** The table of `docs/performance.md`. */
export function table(all: readonly Measured[]): string {
  const rows = all.map((measured) => {
    const { figure, result } = measured
    const { ratio, unit } = result
    const spread = `${number(ratio.low)} to ${number(ratio.high)}`
    const ours = `${number(result.ours)} against ${number(result.baseline)} ${unit}`
    const verdict = reached(measured) ? 'reached' : 'missed'
    return [figure.title, figure.baseline, goalOf(figure), `${number(ratio.median)} ×`, spread, ours, verdict]
  })
  const head = ['figure', 'baseline', 'to reach', 'ratio', 'of the rounds', 'medians', '']
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

export function goalOf({ goal }: Figure): string {
  return 'atLeast' in goal ? `≥ ${goal.atLeast} ×` : `≤ ${goal.atMost} ×`
}

/** What the figures were measured on; no figure is worth anything without it. */
export function machine(): string {
  const [cpu] = cpus()
  const memory = Math.round(totalmem() / 1024 ** 3)
  const where = pinned ? 'servers on the first core, load and database on the others' : 'nothing pinned'
  return `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${memory} GiB, Node ${process.versions.node}, ${where}`
}

/** Three figures that count. */
function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}
