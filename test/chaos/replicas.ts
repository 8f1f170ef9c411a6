import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const START_WITHIN_MS = 60_000
/** Pause before a replica that ended without being asked to is started again, as its supervisor would do. */
const RESTART_MS = 500

export interface ReplicaOptions {
  readonly environment: NodeJS.ProcessEnv
  readonly folder: string
  /** Node's arguments, the program included. Default: `osb serve`. */
  readonly program?: readonly string[]
}

/** How one process of a replica ended. */
export interface Exit {
  readonly pid: number
  readonly at: number
  /** Whether SIGKILL ended it: then its last lines may be missing. */
  readonly killed: boolean
}

/** When a process was stopped with SIGSTOP, in milliseconds of the clock. */
export interface Freeze {
  readonly pid: number
  readonly from: number
  to: number
}

const OSB = [new URL('../../src/cli/osb.js', import.meta.url).pathname, 'serve']

/** One broker process of several on one database; it keeps its port over restarts. */
export class Replica {
  readonly name: string
  readonly url: string
  readonly environment: NodeJS.ProcessEnv
  /** Of all its processes so far. */
  readonly pids = new Set<number>()
  readonly exits: Exit[] = []
  readonly freezes: Freeze[] = []
  /** Ends that were not asked for. */
  readonly crashes: string[] = []
  readonly #program: readonly string[]
  readonly #logPath: string
  #log: WriteStream | undefined
  #process: ChildProcess | undefined
  #expected = false
  #turn: Promise<unknown> = Promise.resolve()

  constructor(name: string, port: number, { environment, folder, program = OSB }: ReplicaOptions) {
    this.name = name
    this.url = `http://127.0.0.1:${port}`
    this.environment = { ...environment, BROKER_PORT: String(port) }
    this.#program = program
    this.#logPath = join(folder, `${name}.log`)
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  get running(): boolean {
    return this.#process !== undefined
  }

  /** Runs `work` when no other work has the process in hand: two faults must not stop and start it side by side. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#turn.then(work)
    this.#turn = turn.catch(() => undefined)
    return turn
  }

  /** Starts the process, with these variables from now on; resolves when it listens. */
  async start(variables: Record<string, string> = {}): Promise<void> {
    Object.assign(this.environment, variables)
    const skewed = this.environment.CHAOS_CLOCK_SHIFT_MS !== undefined
    const preload = new URL('./skewed-clock.ts', import.meta.url).href
    const child = spawn(process.execPath, [...(skewed ? ['--import', preload] : []), ...this.#program], {
      env: this.environment,
      stdio: ['ignore', 'pipe', 'pipe']
    })
    outlivedBy(child)
    this.#process = child
    this.#expected = false
    if (child.pid !== undefined) this.pids.add(child.pid)
    this.#log ??= createWriteStream(this.#logPath, { flags: 'a' })
    child.stdout.pipe(this.#log, { end: false })
    child.stderr.pipe(this.#log, { end: false })
    child.once('exit', (code, signal) => this.#ended(child, signal ?? `code ${code}`))
    for (const end = Date.now() + START_WITHIN_MS; this.#process === child; await sleep(50)) {
      if (await answers(`${this.url}/healthz`)) return
      if (Date.now() > end) throw new Error(`${this.name} does not listen after ${START_WITHIN_MS} ms`)
    }
  }

  /** Whether a line of the log has all of these. */
  async logged(...texts: string[]): Promise<boolean> {
    return (await this.lines()).some((line) => texts.every((text) => line.includes(text)))
  }

  /** What all its processes have logged so far. */
  async lines(): Promise<string[]> {
    return (await readFile(this.#logPath, 'utf8')).split('\n')
  }

  /** Requests that came in, by process and number, and were never answered, except by processes that were killed. */
  async unanswered(): Promise<string[]> {
    const killed = new Set(this.exits.filter((exit) => exit.killed).map(({ pid }) => String(pid)))
    const open = new Map<string, string>()
    for (const line of await this.lines()) {
      const [, pid = '', request = ''] = /"pid":(\d+),.*"reqId":"([^"]+)"/.exec(line) ?? []
      if (killed.has(pid)) continue
      if (line.includes('"msg":"incoming request"')) open.set(`${pid} ${request}`, line)
      if (line.includes('"msg":"request completed"')) open.delete(`${pid} ${request}`)
    }
    return [...open.values()]
  }

  /** Stops the process where it is, for a while. */
  async freeze(ms: number): Promise<void> {
    const { pid } = this
    if (pid === undefined) return
    const freeze = { pid, from: Date.now(), to: Number.POSITIVE_INFINITY }
    this.freezes.push(freeze)
    this.signal('SIGSTOP')
    await sleep(ms)
    this.signal('SIGCONT')
    freeze.to = Date.now()
  }

  /** Sends a signal that does not end the process. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.kill(signal)
  }

  /** Ends the process; resolves with how long that took, in milliseconds. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number> {
    this.#expected = true
    const child = this.#process
    if (child === undefined) return 0
    const began = Date.now()
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await exited
    return Date.now() - began
  }

  #ended(child: ChildProcess, how: string): void {
    this.exits.push({ pid: child.pid ?? 0, at: Date.now(), killed: how === 'SIGKILL' })
    if (this.#process === child) this.#process = undefined
    if (this.#expected) return
    this.crashes.push(`${this.name} ended without being asked to: ${how}`)
    this.exclusively(async () => {
      await sleep(RESTART_MS)
      if (!this.#expected && this.#process === undefined) await this.start()
    }).catch((error: unknown) => this.crashes.push(String(error)))
  }
}

const children = new Set<ChildProcess>()

/** Has the child killed when this process ends, also by a signal. */
function outlivedBy(child: ChildProcess): void {
  if (children.size === 0) {
    process.once('exit', killChildren)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => {
        killChildren()
        process.kill(process.pid, signal)
      })
    }
  }
  children.add(child)
}

function killChildren(): void {
  for (const child of children) child.kill('SIGKILL')
}

async function answers(url: string): Promise<boolean> {
  try {
    const { ok } = await fetch(url, { signal: AbortSignal.timeout(2_000) })
    return ok
  } catch {
    return false
  }
}

/** A port that is free now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
