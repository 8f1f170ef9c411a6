import '../.ci/require-node.mjs'
import { ChildProcess } from 'node:child_process'
import { subscribe } from 'node:diagnostics_channel'
import { globSync } from 'node:fs'
import { join, relative, resolve, sep } from 'node:path'
import { run } from 'node:test'
import { spec } from 'node:test/reporters'

/**
 * `npm test`. `node --test` alone passes when a pattern matches nothing and when a file ends before its tests ran, and
 * waits for ever for a file that leaves a handle open. Here each of these is a failure.
 */

const root = join(import.meta.dirname, '..')
const concurrency = 2
const testTimeoutMs = 120_000
const fileTimeoutMs = 300_000
/** How long the output of a finished file may be held open by a process that it left behind. */
const lingerTimeoutMs = 10_000
/** What a test file gets to end the servers that it started. */
const killTimeoutMs = 5_000

const files = selectFiles(process.argv.slice(2))
const running = new Set<ChildProcess>()
/** How the process of a file ended: its exit code, or the signal that killed it. */
const ends = new Map<string, number | string>()
/** Failures in the files whose tests ran to the end. */
const failures = new Map<string, number>()
const problems = new Map<string, string>()
const totals = { passed: 0, failed: 0, skipped: 0 }
/** Exit code once a signal has asked to stop. */
let stopping: number | undefined

// Every file is a process, and many start brokers: with the sources compiled once they take half the time.
process.env.NODE_COMPILE_CACHE ??= join(root, 'node_modules/.cache/compile')
superviseChildren()
stopOnSignals()

const events = run({ files: files.map((file) => join(root, file)), cwd: root, concurrency, timeout: testTimeoutMs })
events.on('test:summary', ({ file, counts }) => {
  if (file === undefined) return
  const skipped = counts.skipped + counts.todo
  const failed = counts.tests - counts.passed - skipped
  totals.passed += counts.passed
  totals.failed += failed
  totals.skipped += skipped
  failures.set(relative(root, file), failed)
  if (counts.tests === 0) note(relative(root, file), 'holds no tests')
})
const report = events.compose(spec)
report.on('end', conclude)
report.pipe(process.stdout)

/** Every test file, or those that the paths name; each path has to name one. */
function selectFiles(paths: string[]): string[] {
  const all = globSync('{test,examples}/**/*.test.ts', {
    cwd: root,
    exclude: (path) => /(^|\/)(node_modules|dist)(\/|$)/.test(path)
  }).sort()
  if (all.length === 0) refuse('There are no test files (test/**/*.test.ts).')
  if (paths.length === 0) return all
  const chosen = new Set<string>()
  for (const path of paths) {
    const wanted = relative(root, resolve(path))
    const matches = all.filter((file) => wanted === '' || file === wanted || file.startsWith(wanted + sep))
    if (matches.length === 0) refuse(`"${path}" names no test file. Give a folder, or a file that ends in .test.ts.`)
    for (const file of matches) chosen.add(file)
  }
  return [...chosen]
}

function refuse(message: string): never {
  console.error(message)
  process.exit(1)
}

function note(file: string, problem: string): void {
  if (!problems.has(file)) problems.set(file, problem)
}

/** `run` neither shows its child processes nor limits their time, so they are picked up where Node.js announces them. */
function superviseChildren(): void {
  subscribe('child_process', (message) => {
    const child = childOf(message)
    if (child === undefined) return
    child.once('spawn', () => supervise(child))
  })
  process.on('exit', () => {
    for (const child of running) child.kill('SIGKILL')
  })
}

function childOf(message: unknown): ChildProcess | undefined {
  if (typeof message !== 'object' || message === null || !('process' in message)) return undefined
  return message.process instanceof ChildProcess ? message.process : undefined
}

function supervise(child: ChildProcess): void {
  const file = relative(root, child.spawnargs.at(-1) ?? '')
  running.add(child)
  if (stopping !== undefined) child.kill()
  const limit = setTimeout(() => {
    note(file, `did not end within ${fileTimeoutMs / 1000} s: a test hangs, or a handle was left open`)
    child.kill()
    setTimeout(() => child.kill('SIGKILL'), killTimeoutMs).unref()
  }, fileTimeoutMs)
  let linger: NodeJS.Timeout | undefined
  child.once('exit', (code, signal) => {
    ends.set(file, code ?? signal ?? 'unknown')
    clearTimeout(limit)
    linger = setTimeout(() => {
      note(file, 'left a process behind that holds its output open')
      child.stdout?.destroy()
      child.stderr?.destroy()
    }, lingerTimeoutMs)
  })
  child.once('close', () => {
    clearTimeout(linger)
    running.delete(child)
    if (stopping !== undefined && running.size === 0) process.exit(stopping)
  })
}

function stopOnSignals(): void {
  for (const [signal, code] of [['SIGINT', 130] as const, ['SIGTERM', 143] as const]) {
    process.once(signal, () => {
      stopping = code
      for (const child of running) child.kill()
      // Whatever is alive by then is killed on exit.
      setTimeout(() => process.exit(code), killTimeoutMs)
    })
  }
}

function conclude(): void {
  if (stopping !== undefined) return
  for (const file of files) {
    const end = ends.get(file)
    const failed = failures.get(file)
    if (failed === undefined) note(file, `ended (${end}) before its tests did, or holds none`)
    if (failed === 0 && end !== 0) note(file, `passed its tests, then ended with ${end}`)
  }
  for (const [file, problem] of problems) console.log(`✖ ${file} ${problem}`)
  totals.failed += problems.size
  if (totals.passed + totals.failed === 0) console.log('✖ no test was run')
  console.log(`${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`)
  process.exitCode = totals.failed === 0 && totals.passed > 0 ? 0 : 1
}
