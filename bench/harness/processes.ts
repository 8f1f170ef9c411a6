import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ProbeReport } from '../targets/probe.ts'
import { childrenOf } from './busy.ts'

/**
 * Who runs where: servers under test on the first core, what puts load on them and the database on the others. `second` is
 * the core of a second server, where two are compared with one.
 */
export type Place = 'server' | 'second' | 'others' | 'anywhere'

/** A process of ours that listens. */
export interface Target {
  readonly url: string
  readonly pid: number
  readonly child: ChildProcess
  stop(): Promise<void>
}

const STOP_MS = 12_000
const probe = fileURLToPath(new URL('../targets/probe.ts', import.meta.url))
const alive = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of alive) child.kill('SIGKILL')
})
const canPin = availableParallelism() > 1 && has('taskset')
const coresOf = { server: '0', second: '1', others: `1-${availableParallelism() - 1}` } as const

/** Whether processes are kept on cores of their own in this run; the report says so. */
export const pinned = canPin

/** The command line that runs a program where it belongs. */
export function placed(place: Place, command: readonly string[]): readonly string[] {
  if (!canPin || place === 'anywhere') return command
  return ['taskset', '-c', coresOf[place], ...command]
}

/** Moves a process that runs, with its children and all that they will start, to where it belongs. */
export function move(pid: number, place: Exclude<Place, 'anywhere'>): void {
  if (!canPin) return
  for (const one of [pid, ...childrenOf(pid)]) execFileSync('taskset', ['-acp', coresOf[place], String(one)])
}

/** Starts a Node program and waits for the line with its address. */
export async function startTarget(
  args: readonly string[],
  { place = 'server', env = {}, listening = /^(http:\S+)$/, probed = false }: TargetOptions = {}
): Promise<Target> {
  const watching = probed ? ['--expose-gc', '--import', probe] : []
  const [program = '', ...rest] = placed(place, [process.execPath, ...watching, ...args])
  const { PATH, HOME } = process.env
  const channel = probed ? (['ipc'] as const) : []
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'inherit', ...channel], env: { PATH, HOME, ...env } })
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
  /** With `bench/targets/probe.ts` in it, for {@link askProbe}. */
  readonly probed?: boolean
}

/** What a probed process tells of itself; its event loop's delay is that since it was last asked. */
export async function askProbe(child: ChildProcess): Promise<ProbeReport> {
  child.send('report')
  const [report]: ProbeReport[] = await once(child, 'message')
  if (report === undefined) throw new Error('a probe was silent')
  return report
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
