import { parseArgs } from 'node:util'
import { Faults } from './faults.ts'
import { type Known, Tenant } from './lifecycles.ts'
import { Platform } from './platform.ts'
import { Random } from './random.ts'
import { openScene } from './scene.ts'
import { compareTruths } from './truths.ts'

/*
 * npm run chaos -- [--faults 1000] [--minutes 30] [--clients 10] [--replicas 3] [--seed N]
 * Three replicas, one real PostgreSQL, real databases. Clients live random lives while replicas are killed, frozen and
 * stopped and the server is restarted. At the end three truths are compared; any difference fails the run.
 */

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '1000' },
    minutes: { type: 'string', default: '30' },
    clients: { type: 'string', default: '10' },
    replicas: { type: 'string', default: '3' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) }
  }
})
const option = (name: keyof typeof values): number => {
  const number = Number(values[name])
  if (!Number.isFinite(number) || number <= 0)
    throw new TypeError(`--${name} must be a number above 0, not ${values[name]}`)
  return number
}

const seed = option('seed')
const began = Date.now()
const scene = await openScene(option('replicas'))
console.log(`chaos: seed ${seed}, ${scene.replicas.length} replicas, logs in ${scene.folder}`)
const random = new Random(seed)
const platform = new Platform(scene, random)
const tenants = Array.from({ length: option('clients') }, () => new Tenant(platform, random))
const faults = new Faults(scene, random)
let failed = true
try {
  let raging = true
  const report = setInterval(() => {
    const lives = tenants.reduce((sum, tenant) => sum + tenant.lives, 0)
    console.log(`${seconds()} s: ${faults.total} faults, ${lives} lives, ${platform.violations.length} violations`)
  }, 15_000)
  const living = Promise.all(tenants.map((tenant) => tenant.run(() => raging)))
  await Promise.all([
    living,
    faults.run({ count: option('faults'), forMs: option('minutes') * 60_000 }).finally(() => {
      raging = false
    })
  ])
  clearInterval(report)
  const known = new Map<string, Known>()
  for (const tenant of tenants) {
    await tenant.bindAll()
    for (const [instanceId, what] of tenant.known) known.set(instanceId, what)
  }
  const { counts, differences } = await compareTruths(scene, known)
  const crashes = scene.replicas.reduce((sum, { crashes }) => sum + crashes, 0)
  const problems = [...platform.violations, ...faults.violations, ...differences]
  if (crashes > 0) problems.push(`${crashes} replicas ended without being asked to`)
  print('faults', { total: faults.total, ...Object.fromEntries(faults.counts) })
  print('answers', Object.fromEntries([...platform.counts].sort()))
  print('end', { lives: tenants.reduce((sum, { lives }) => sum + lives, 0), ...counts })
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

function print(title: string, counts: Record<string, number>): void {
  console.log(`\n${title}`)
  for (const [name, count] of Object.entries(counts)) console.log(`  ${String(count).padStart(7)}  ${name}`)
}
