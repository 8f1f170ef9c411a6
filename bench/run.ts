import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { endGrowth } from './figures/growth.ts'
import { figures } from './figures/index.ts'
import type { Figure } from './harness/figure.ts'
import { positive } from './harness/options.ts'
import { endReplays } from './harness/recording.ts'
import { inWords, line, machine, table } from './harness/report.ts'
import { compare } from './harness/rounds.ts'
import { type Pace, Stage } from './harness/stage.ts'
import { bearable, type Measured, missedByFar, reached } from './harness/verdict.ts'

/*
 * npm run bench [-- --only NAME,… --rounds N --seconds N --rows N --short --json FILE]: every figure of docs/performance.md as a ratio
 * to its baseline in the same run. The short form fails only where a figure is missed by far.
 */

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    rows: { type: 'string' },
    short: { type: 'boolean', default: false },
    json: { type: 'string' }
  }
})
const pace: Pace = {
  rounds: positive('rounds', values.rounds ?? (values.short ? '3' : '5')),
  seconds: positive('seconds', values.seconds ?? (values.short ? '0.5' : '5')),
  short: values.short,
  rows: positive('rows', values.rows ?? (values.short ? '100000' : '3000000'))
}
const chosen = choose(values.only)
const measured: Measured[] = []
console.log(machine())
for (const figure of chosen) {
  const one = (await firstTry(figure)) ?? (await measure(figure))
  measured.push(one)
  console.log(line(one))
}
await endGrowth()
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

/** Machines are busy for a moment: in the short form, what is missed by far or cannot be measured gets a second try. */
async function firstTry(figure: Figure): Promise<Measured | undefined> {
  if (!pace.short) return undefined
  try {
    const one = await measure(figure)
    if (!missedByFar(one)) return one
    console.log(`${line(one)}; once more`)
  } catch (error) {
    console.log(`${figure.name}: ${error instanceof Error ? error.message : error}; once more`)
  }
  return undefined
}

async function measure(figure: Figure): Promise<Measured> {
  const stage = new Stage(pace)
  try {
    return { figure, result: await compare(await figure.prepare(stage), pace.rounds) }
  } finally {
    await endReplays()
    await stage.close()
  }
}

function choose(only: string | undefined) {
  if (only === undefined) return figures.filter(({ slow }) => !(values.short && slow === true))
  const names = only.split(',')
  const known = figures.map(({ name }) => name)
  const groups = new Set(figures.flatMap(({ group }) => group ?? []))
  const unknown = names.find((name) => !known.includes(name) && !groups.has(name))
  if (unknown !== undefined) throw new Error(`There is no figure "${unknown}"; there are ${known.join(', ')}.`)
  return figures.filter(({ name, group }) => names.includes(name) || (group !== undefined && names.includes(group)))
}
