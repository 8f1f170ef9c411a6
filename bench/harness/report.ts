import { cpus, totalmem } from 'node:os'
import type { Busy } from './busy.ts'
import type { Goal } from './figure.ts'
import { pinned } from './processes.ts'
import { type Measured, reached } from './verdict.ts'

/** The table of `docs/performance.md`. */
export function table(all: readonly Measured[]): string {
  const rows = all.map((measured) => {
    const { figure, result } = measured
    const { ours, baseline, ratio, unit } = result
    return [
      figure.title,
      figure.baseline,
      inWords(figure.goal),
      `${number(ratio.median)} ×`,
      `${number(ratio.low)} to ${number(ratio.high)}`,
      `${number(ours.value)} against ${number(baseline.value)} ${unit}`,
      busyInWords(ours.busy, baseline.busy),
      reached(measured) ? 'reached' : 'missed'
    ]
  })
  const head = ['figure', 'baseline', 'to reach', 'ratio', 'of the rounds', 'medians', 'busy, % of a core', '']
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** A line for a figure that has just been measured. */
export function line({ figure, result }: Measured): string {
  const { ratio, ours, baseline, unit } = result
  const verdict = reached({ figure, result }) ? 'reached' : 'missed'
  const busy = busyInWords(ours.busy, baseline.busy)
  const medians = `${number(ours.value)} against ${number(baseline.value)} ${unit}`
  return `${figure.name}: ${number(ratio.median)} × (${inWords(figure.goal)}, ${verdict}); ${medians}${busy && `; busy: ${busy}`}`
}

export function inWords(goal: Goal): string {
  return 'atLeast' in goal ? `≥ ${number(goal.atLeast)} ×` : `≤ ${number(goal.atMost)} ×`
}

/** What the figures were measured on; no figure is worth anything without it. */
export function machine(): string {
  const [cpu] = cpus()
  const memory = Math.round(totalmem() / 1024 ** 3)
  const where = pinned ? 'servers on the first core, load and database on the others' : 'nothing pinned'
  return `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${memory} GiB, Node ${process.versions.node}, ${where}`
}

/** Each part of ours and of the baseline. */
function busyInWords(ours: Busy | undefined, baseline: Busy | undefined): string {
  const parts = (['server', 'load', 'database'] as const).flatMap((part) => {
    const shares = [ours?.[part], baseline?.[part]]
    if (shares.every((share) => share === undefined)) return []
    const [first, second] = shares.map((share) => (share === undefined ? '–' : (share * 100).toFixed(0)))
    return `${part} ${first} against ${second}`
  })
  return parts.join(', ')
}

/** Three figures that count. */
function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
}
