import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'

/** Who runs where: servers under test on the first core, what puts load on them and the database on the others. */
export type Place = 'server' | 'others' | 'anywhere'

/** A process of ours that listens. */
export interface Target {
  readonly url: string
  readonly pid: number
  readonly child: ChildProcess
  stop(): Promise<void>
}

const STOP_MS = 12_000
const alive = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})
const canPin = availableParallelism() > 1 && has('taskset')

/** Whether processes are kept on cores of their own in this run; the report says so. */
export const pinned = canPin

/** The command line that runs a program where it belongs. */
export function placed(place: Place, command: readonly string[]): readonly string[] {
  if (!canPin || place === 'anywhere') return command
  return ['taskset', '-c', place === 'server' ? '0' : `1-${availableParallelism() - 1}`, ...command]
}

/** Starts a Node program and waits for the line with its address. */
export async function startTarget(
  args: readonly string[],
  { place = 'server', env = {}, listening = /^(http:\S+)$/ }: TargetOptions = {}
): Promise<Target> {
  const [program = '', ...rest] = placed(place, [process.execPath, ...args])
  const { PATH, HOME } = process.env
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit'], env: { PATH, HOME, ...env } })
  const stop = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
    child.kill('SIGTERM')
    await once(child, 'close')
    clearTimeout(killer)
  }
  alive.add(child)
  child.once('exit', () => alive.delete(child))
  const url = await addressIn(child, listening)
  return { url, pid: child.pid ?? 0, child, stop }
}

export interface TargetOptions {
  readonly place?: Place
  readonly env?: Readonly<Record<string, string>>
  /** What is printed when it listens; its first group is the URL. */
  readonly listening?: RegExp
}

async function addressIn(child: ChildProcess, listening: RegExp): Promise<string> {
  if (child.stdout === null) throw new Error('the output of a target must be a pipe')
  const lines = createInterface({ input: child.stdout })
  return new Promise((resolve, reject) => {
    child.once('exit', (code, signal) => reject(new Error(`a target ended (${code ?? signal}) before it listened`)))
    // Read to the end: a full pipe would stop the process.
    lines.on('line', (line) => {
      const [, url] = listening.exec(line) ?? []
      if (url !== undefined) resolve(url)
    })
  })
}

/** Memory that a process has in RAM, in megabytes. */
export function residentMegabytes(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })) / 1024
}

function has(program: string): boolean {
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
