import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { processorSeconds } from './harness/busy.ts'

/**
 * `npm run bench:start`: how large each form of the program is, and what it takes until it listens: time, and on Linux the
 * processor's time, which other work on the machine changes less. State in memory, so that it is the program's own time;
 * after a first run that is not counted, so that files and compiled code are there.
 */

const root = join(import.meta.dirname, '..')
const runs = 11

const cache = mkdtempSync(join(tmpdir(), 'osb-start-'))
const forms: [name: string, file: string, size: string, env: Record<string, string>][] = [
  ['sources', 'src/cli/osb.js', 'src', {}],
  ['dist', 'dist/src/cli/osb.js', 'dist/src', {}],
  ['bundle', 'dist/bundle/osb.mjs', 'dist/bundle/lib', {}],
  ['bundle, compiled code kept', 'dist/bundle/osb.mjs', 'dist/bundle/lib', { NODE_COMPILE_CACHE: cache }]
]

try {
  console.log(`Node.js ${process.version}; the fastest of ${runs}, and the least time of the processor`)
  for (const [name, file, size, env] of forms) {
    if (!existsSync(join(root, file))) throw new Error(`There is no ${file}: npm run build && npm run bundle`)
    await start(file, env)
    const times: Times[] = []
    for (let run = 0; run < runs; run++) times.push(await start(file, env))
    const least = (pick: (times: Times) => number) =>
      `${Math.min(...times.map(pick))
        .toFixed(0)
        .padStart(6)} ms`
    const shown = [megabytes(join(root, size)).padStart(8), least(({ wallMs }) => wallMs), least(({ cpuMs }) => cpuMs)]
    console.log(`${name.padEnd(28)} ${shown.join('')}`)
  }
} finally {
  rmSync(cache, { recursive: true })
}

interface Times {
  readonly wallMs: number
  readonly cpuMs: number
}

/** Until the broker says that it listens. */
async function start(file: string, env: Record<string, string>): Promise<Times> {
  const begun = performance.now()
  const broker = spawn(process.execPath, [join(root, file), 'serve'], {
    env: {
      PATH: process.env.PATH,
      BROKER_STORAGE: 'memory',
      BROKER_USERNAME: 'bench',
      BROKER_PASSWORD: 'bench',
      BROKER_PORT: '0',
      BROKER_CATALOG_PATH: join(root, 'test/fixtures/seed-catalog.yaml'),
      LOG_LEVEL: 'silent',
      ...env
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  await greeted(broker)
  const times = { wallMs: performance.now() - begun, cpuMs: (processorSeconds(broker.pid ?? 0) ?? Number.NaN) * 1_000 }
  broker.kill()
  await once(broker, 'close')
  return times
}

async function greeted({ stdout }: ChildProcess): Promise<void> {
  if (stdout === null) throw new Error('a process without an output')
  for await (const line of createInterface(stdout)) if (line.startsWith('The broker listens on ')) return
  throw new Error('The broker ended before it listened.')
}

function megabytes(path: string): string {
  const files = statSync(path).isFile()
    ? [path]
    : readdirSync(path, { recursive: true, withFileTypes: true }).flatMap((entry) =>
        entry.isFile() ? [join(entry.parentPath, entry.name)] : []
      )
  return `${(files.reduce((sum, file) => sum + statSync(file).size, 0) / 1e6).toFixed(1)} MB`
}
