import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Measures, type Sample } from './measures.ts'
import { openScene } from './scene.ts'

/* npm run chaos:measure: the table of docs/operations.md, on three replicas and a server with fsync. */

const IDLE_MS = 30_000

await printIdleStatements()
const scene = await openScene(3)
const measures = await Measures.open(scene)
try {
  const start = await measures.acceptanceToStart(100)
  const takeover: Sample[] = []
  for (let index = 0; index < 10; index += 1) takeover.push((await measures.takeover()).sample)
  const cancel: Sample[] = []
  for (let index = 0; index < 20; index += 1) cancel.push(await measures.cancel())
  const work: Sample[] = []
  for (let index = 0; index < 20; index += 1) work.push(await measures.deleteToWork())
  console.log('| time | runs | median | p95 | longest |\n| --- | --- | --- | --- | --- |')
  print('from acceptance to start', start)
  print('from kill -9 to the next attempt (takeover)', takeover)
  print('from DELETE at another replica to the create having stopped', cancel)
  print('from DELETE at another replica to the beginning of its work', work)
} finally {
  await measures.close()
  await scene.close({ keep: false })
}

/** What one replica with nothing to do asks of its database. */
async function printIdleStatements(): Promise<void> {
  const idle = await openScene(1, { log_statement: 'all' })
  try {
    const log = join(idle.folder, 'postgresql', 'postgres.log')
    const count = async () => (await readFile(log, 'utf8')).split(/LOG: {2}(?:execute|statement)/).length
    await sleep(10_000)
    const before = await count()
    await sleep(IDLE_MS)
    const perSecond = ((await count()) - before) / (IDLE_MS / 1000)
    console.log(`idle: ${perSecond.toFixed(1)} statements a second\n`)
  } finally {
    await idle.close({ keep: false })
  }
}

function print(name: string, samples: Sample[]): void {
  const sorted = samples.toSorted((a, b) => a - b)
  const at = (share: number) =>
    `${Math.round(sorted[Math.ceil(share * sorted.length) - 1] ?? 0).toLocaleString('en')} ms`
  console.log(`| ${name} | ${samples.length} | ${at(0.5)} | ${at(0.95)} | ${at(1)} |`)
}
