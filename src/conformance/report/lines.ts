import { styleText } from 'node:util'
import type { Result } from '../check.ts'

const marks = {
  passed: { sign: '✔', style: 'green' },
  failed: { sign: '✖', style: 'red' },
  warned: { sign: '!', style: 'yellow' },
  skipped: { sign: '-', style: 'gray' }
} as const

/** The result of one check as a line, with what was seen below it when it failed. */
export function resultLine(result: Result): string {
  const { id, level, section, rule, detail } = result
  const { sign, style } = marks[markOf(result)]
  const head = styleText(style, `${sign} ${id}`)
  if (result.status === 'passed') return `${head}\n`
  if (result.status === 'skipped') return `${head}: ${detail}\n`
  const lines = [`${level} (${section}): ${rule}`, ...detail.split('\n')]
  return `${head}\n${lines.map((line) => `    ${line}\n`).join('')}`
}

/** How many checks of each section passed, failed and were skipped, and what that comes to. */
export function summary(results: readonly Result[]): string {
  const sections = [...new Set(results.map(({ section }) => section))]
  const width = Math.max(...sections.map(({ length }) => length), 0)
  const rows = sections.map((section) => {
    const { passed, failed, warned, skipped } = countsOf(results.filter((result) => result.section === section))
    const parts = [
      `${passed} passed`,
      ...(failed === 0 ? [] : [styleText('red', `${failed} MUST failed`)]),
      ...(warned === 0 ? [] : [styleText('yellow', `${warned} SHOULD failed`)]),
      ...(skipped === 0 ? [] : [`${skipped} skipped`])
    ]
    return `${section.padEnd(width)}  ${parts.join(', ')}`
  })
  const { passed, failed, warned, skipped } = countsOf(results)
  const verdict =
    failed === 0 ? styleText('green', 'The broker conforms.') : styleText('red', 'The broker does not conform.')
  const total = `${results.length} checks: ${passed} passed, ${failed} MUST failed, ${warned} SHOULD failed, ${skipped} skipped.`
  return `\n${rows.join('\n')}\n\n${total} ${verdict}\n`
}

function markOf({ status, level }: Result): keyof typeof marks {
  return status === 'failed' && level === 'SHOULD' ? 'warned' : status
}

function countsOf(results: readonly Result[]): Record<keyof typeof marks, number> {
  const counts = { passed: 0, failed: 0, warned: 0, skipped: 0 }
  for (const result of results) counts[markOf(result)] += 1
  return counts
}
