import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { figures } from './figures/index.ts'
import { endReplays } from './harness/recording.ts'
import { inWords, line, machine, table } from './harness/report.ts'
import { compare } from './harness/rounds.ts'
import { type Pace, Stage } from './harness/stage.ts'
import { bearable, type Measured, missedByFar, reached } from './harness/verdict.ts'

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
  seconds: Number(values.seconds ?? (values.short ? 0.5 : 5)),
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
    console.log(line({ figure, result }))
  } finally {
    await endReplays()
    await stage.close()
  }
}
console.log(`\n${table(measured)}`)
if (values.json !== undefined)
  writeFileSync(values.json, `${JSON.stringify({ machine: machine(), pace, measured }, null, 2)}\n`)
for (const { figure } of measured.filter((one) => !reached(one))) console.log(`missed: ${figure.name}`)
const broken = pace.short ? measured.filter(missedByFar) : []
for (const { figure, result } of broken) {
  const bound = inWords(bearable(figure))
  console.error(`${figure.name}: ${result.ratio.median.toFixed(3)} ×, and should be ${bound} even in the short form`)
}
process.exitCode = broken.length > 0 ? 1 : 0

function choose(only: string | undefined) {
  if (only === undefined) return figures.filter(({ slow }) => !(values.short && slow === true))
  const names = only.split(',')
  const known = figures.map(({ name }) => name)
  const unknown = names.find((name) => !known.includes(name))
  if (unknown !== undefined) throw new Error(`There is no figure "${unknown}"; there are ${known.join(', ')}.`)
  return figures.filter(({ name }) => names.includes(name))
}
