import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { Random } from '../chaos/random.ts'
import type { Replica } from '../chaos/replicas.ts'
import { printSummary } from '../chaos/summary.ts'
import { attackNames } from './attack-names.ts'
import { liveHonestly, standHonestly } from './honest-tenant.ts'
import { type HostileScene, openHostileScene } from './hostile-scene.ts'
import { attackOnAndOn } from './hostile-tenant.ts'
import { type AttackRecord, Journal } from './journal.ts'
import { type Admin, readOptions } from './options.ts'
import { exceedQuotas } from './quota-tenant.ts'
import { repairNowAndThen } from './repairs.ts'

/*
 * npm run hostile -- [--minutes 10] [--admin superuser|plain|both] [--attackers 3] [--honest 3] [--replicas 2] [--seed N]
 *                    [--only TEXT]
 * One tenant attacks the availability of a server that it shares with honest tenants and with the broker's own state. Every
 * honest request has to end within 30 s and none may fail.
 */

/** About what an attack takes with its instance. A run that is too short for all attacks does the first of the list. */
const ATTACK_MS = 10_000
/** How often an attack may be stopped while it is prepared, such as when its victim has gone. */
const TRIES = 3
/** A replica that reads what a tenant controls must not grow with it. */
const REPLICA_MB = 450

const options = readOptions(process.argv.slice(2))
let failed = false
for (const admin of options.admins) {
  console.log(`\n== hostile: ${admin} admin, ${options.replicas} replicas, seed ${options.seed}`)
  const problems = await run(admin, (options.minutes * 60_000) / options.admins.length)
  for (const problem of problems) console.log(`FAILURE ${problem}`)
  console.log(
    problems.length === 0 ? `no failure with a ${admin} admin` : `${problems.length} failures with a ${admin} admin`
  )
  failed ||= problems.length > 0
}
process.exitCode = failed ? 1 : 0

async function run(admin: Admin, ms: number): Promise<string[]> {
  const random = new Random(options.seed)
  const scene = await openHostileScene({ admin, replicas: options.replicas })
  const journal = new Journal()
  const memory = new Map<string, number>()
  let problems = ['The run did not come to its end.']
  try {
    const end = Date.now() + ms
    const goOn = () => Date.now() < end
    // The honest go on until the last attack has ended.
    let attacking = true
    const all = attackNames(options.only, random.fork('attacks'))
    const planned = all.slice(0, Math.max(1, Math.floor((options.attackers * ms) / ATTACK_MS)))
    console.log(`${planned.length} of ${all.length} attacks`)
    let turn = 0
    // The list begins anew at its end, as long as there is time, after those that were stopped before they took effect.
    const next = () => {
      const missing = turn < planned.length ? undefined : planned.find((name) => journal.misses(name, TRIES))
      return missing ?? (turn < planned.length || goOn() ? planned[turn++ % planned.length] : undefined)
    }
    const watch = setInterval(() => void measure(scene.replicas, memory), 1_000)
    const attackers = Array.from({ length: options.attackers }, (_, lane) =>
      attackOnAndOn({ scene, journal, random: random.fork(`lane ${lane}`), next })
    )
    const honest = [
      standHonestly(scene.client('honest'), journal, () => attacking),
      ...Array.from({ length: options.honest }, () => liveHonestly(scene.client('honest'), journal, () => attacking)),
      repairNowAndThen(scene, journal, { everyMs: ms / 3, goOn })
    ]
    const began = Date.now()
    await Promise.all([...attackers, exceedQuotas(scene, journal, goOn)]).finally(() => {
      attacking = false
    })
    const share = Math.round((100 * journal.underAttackMs) / (Date.now() - began))
    console.log(`at least one attack was on for ${share} % of the time`)
    await Promise.all(honest)
    clearInterval(watch)
    await leftNothing(scene, journal)
    for (const [name, megabytes] of memory) {
      if (megabytes > REPLICA_MB) journal.fail(`${name} used ${megabytes} MB, more than ${REPLICA_MB} MB`)
    }
    for (const crash of scene.replicas.flatMap(({ crashes }) => crashes)) journal.fail(crash)
    await report(scene, journal, memory)
    problems = journal.verdict(planned)
  } finally {
    await scene.close({ keep: problems.length > 0 })
    if (problems.length > 0) console.log(`logs: ${scene.folder}`)
  }
  return problems
}

/** Nothing of any instance is left, and no session or prepared transaction of a tenant. */
async function leftNothing({ sql }: HostileScene, journal: Journal): Promise<void> {
  const left = async () =>
    await sql(`SELECT 'database ' || datname AS name FROM pg_database WHERE datname ~ '^osb_d_'
      UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ '^osb_[orb]_'
      UNION ALL SELECT 'session of ' || usename FROM pg_stat_activity WHERE usename ~ '^osb_b_'
      UNION ALL SELECT 'prepared transaction ' || gid FROM pg_prepared_xacts`)
  // What has lost its login ends within moments.
  for (let tries = 0; tries < 50 && (await left()).length > 0; tries += 1) await sleep(200)
  for (const { name } of await left()) journal.fail(`left over: ${name}`)
}

async function measure(replicas: readonly Replica[], memory: Map<string, number>): Promise<void> {
  for (const { name, pid } of replicas) {
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '')
    const megabytes = Math.round(Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) / 1024)
    memory.set(name, Math.max(memory.get(name) ?? 0, megabytes))
  }
}

async function report({ replicas }: HostileScene, journal: Journal, memory: Map<string, number>): Promise<void> {
  const honest = [...journal.honest]
  const attacks = [...journal.attacks].sort(([one], [other]) => one.localeCompare(other))
  console.log(
    '\n| attack | starts | took effect | new logins | how its sessions went |\n| --- | --- | --- | --- | --- |'
  )
  for (const [name, { started, begun, renewed, ends }] of attacks) {
    const went = [...ends].map(([end, count]) => `${end}: ${count}`).join(', ')
    console.log(`| ${name} | ${started} | ${begun} | ${renewed} | ${went} |`)
  }
  const sum = (of: (record: AttackRecord) => number) => attacks.reduce((total, [, record]) => total + of(record), 0)
  printSummary({
    'honest, by kind': Object.fromEntries(honest.map(([kind, { count }]) => [kind, count])),
    'slowest, in ms': Object.fromEntries(honest.map(([kind, { slowestMs }]) => [kind, slowestMs])),
    'failed requests, by kind': Object.fromEntries(journal.errors),
    'retry of an application': Object.fromEntries(journal.retries),
    'act of the guard': await guardActs(replicas),
    'at the end': {
      'kinds of attack': attacks.length,
      'attacks started': sum(({ started }) => started),
      'attacks that took effect': sum(({ begun }) => begun),
      'new logins of attackers': sum(({ renewed }) => renewed),
      'honest requests, logins and queries': honest.reduce((sum, [, { count }]) => sum + count, 0),
      failures: journal.failures.length,
      ...Object.fromEntries([...memory].map(([name, megabytes]) => [`${name}, MB at most`, megabytes]))
    }
  })
}

/** The guard logs each act with the rule that it follows. */
async function guardActs(replicas: readonly Replica[]): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  for (const replica of replicas) {
    for (const line of await replica.lines()) {
      const [, rule] = /"rule":"([^"]+)"/.exec(line) ?? []
      const [, message] = /"msg":"(The guard [^"]+)"/.exec(line) ?? []
      if (rule === undefined || message === undefined) continue
      const key = `${message} ${rule}`
      counts[key] = (counts[key] ?? 0) + 1
    }
  }
  return counts
}
