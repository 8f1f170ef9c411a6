import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { figures } from './figures/index.ts'
import { endReplays } from './harness/recording.ts'
import { goalOf, type Measured, machine, missedByFar, reached, table } from './harness/report.ts'
import { compare } from './harness/rounds.ts'
import { type Pace, Stage } from './harness/stage.ts'

/*
 * npm run bench [-- --only NAME,… --rounds N --seconds N --short --json FILE]: every figure of docs/performance.md as a ratio
 * to its baseline in the same run. The short form fails only where a figure is missed by far.
 */

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    short: { type: 'boolean', default: false },
    json: { type: 'string' }
  }
})
const pace: Pace = {
  rounds: Number(values.rounds ?? (values.short ? 3 : 5)),
  seconds: Number(values.seconds ?? (values.short ? 1 : 5)),
  short: values.short
}
const chosen = choose(values.only)
const measured: Measured[] = []
console.log(machine())
for (const figure of chosen) {
  const stage = new Stage(pace)
  try {
    const result = await compare(await figure.prepare(stage), pace.rounds)
    measured.push({ figure, result })
    const verdict = reached({ figure, result }) ? 'reached' : 'missed'
    console.log(`${figure.name}: ${result.ratio.median.toFixed(2)} × (${goalOf(figure)}, ${verdict})`)
  } finally {
    await endReplays()
    await stage.close()
  }
}
console.log(`\n${table(measured)}`)
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ machine: machine(), pace, measured }, null, 2)}\n`)
const failed = pace.short ? measured.filter(missedByFar) : measured.filter((one) => !reached(one))
for (const { figure } of failed) console.log(`${pace.short ? 'missed by far' : 'missed'}: ${figure.name}`)
process.exitCode = pace.short && failed.length > 0 ? 1 : 0

function choose(only: string | undefined) {
  if (only === undefined) return figures
  const names = only.split(',')
  const known = figures.map(({ name }) => name)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`There is no figure "${unknown}"; there are ${known.join(', ')}.`)
  return figures.filter(({ name }) => names.includes(name))
}
