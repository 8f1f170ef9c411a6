import { countActs, readCalls } from './calls.ts'
import { openChaosScene } from './chaos-scene.ts'
import { Faults } from './faults.ts'
import type { Known } from './life.ts'
import { readOptions } from './options.ts'
import { Platform } from './platform.ts'
import { Random } from './random.ts'
import { compareSlots } from './slots.ts'
import { printSummary } from './summary.ts'
import { Tenant } from './tenant.ts'
import { compareTruths } from './truths.ts'

/*
 * npm run chaos -- [--faults 1000] [--minutes 30] [--clients 10] [--replicas 3] [--seed N] [--only network,skew]
 * Several replicas, real PostgreSQL servers, real databases and a provider that hangs. Clients live random lives while
 * processes, networks and servers fail. At the end three truths are compared; any difference fails the run.
 */

const options = readOptions(process.argv.slice(2))
const began = Date.now()
const random = new Random(options.seed)
const scene = await openChaosScene({ replicas: options.replicas, random: random.fork('scene'), chosen: options.only })
console.log(`chaos: seed ${options.seed}, ${scene.replicas.length} replicas, logs in ${scene.folder}`)
const platform = new Platform(scene, random.fork('platform'))
const tenants = Array.from({ length: options.clients }, (_, index) => {
  return new Tenant(scene, platform, { random: random.fork(`tenant ${index}`), faulty: options.only.has('provider') })
})
const faults = new Faults(scene, random.fork('faults'), options.only)
let failed = true
try {
  let raging = true
  const lives = () => tenants.reduce((sum, tenant) => sum + tenant.lives, 0)
  const report = setInterval(() => {
    console.log(`${seconds()} s: ${faults.total} faults, ${lives()} lives, ${platform.violations.length} violations`)
  }, 15_000)
  await Promise.all([
    ...tenants.map((tenant) => tenant.run(() => raging)),
    faults.run({ count: options.faults, forMs: options.minutes * 60_000 }).finally(() => {
      raging = false
      for (const network of scene.networks.values()) network.heal()
      platform.calm()
    })
  ])
  clearInterval(report)
  for (const tenant of tenants) await tenant.bindAll()
  const known = new Map<string, Known>(tenants.flatMap((tenant) => [...tenant.known]))
  const lost = new Set(tenants.flatMap((tenant) => [...tenant.lost]))
  const slots = await compareSlots(scene)
  const calls = await readCalls(scene.callPaths)
  const { timeline } = faults
  const { counts, differences } = await compareTruths(scene, { known, lost, platform, timeline, calls })
  const crashes = scene.replicas.flatMap((replica) => replica.crashes)
  const problems = [...platform.violations, ...faults.violations, ...crashes, ...slots, ...differences]
  printSummary({
    fault: { ...Object.fromEntries(faults.counts), ...Object.fromEntries(scene.skews), ...countActs(calls) },
    answer: Object.fromEntries([...platform.counts].sort()),
    'at the end': { 'lives of instances gone through': lives(), ...counts, 'slowest answer, in ms': platform.slowestMs }
  })
  for (const problem of problems) console.log(`DIFFERENCE ${problem}`)
  failed = problems.length > 0
  console.log(`${failed ? `${problems.length} differences` : 'no difference'} after ${seconds()} s`)
} finally {
  await scene.close({ keep: failed })
}
process.exitCode = failed ? 1 : 0

function seconds(): number {
  return Math.round((Date.now() - began) / 1000)
}
