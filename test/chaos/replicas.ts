import { type ChildProcess, spawn } from 'node:child_process'
import { createWriteStream, type WriteStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const START_WITHIN_MS = 60_000

/** One broker process of several on one database; it keeps its port over restarts. */
export class Replica {
  readonly name: string
  readonly url: string
  readonly #environment: NodeJS.ProcessEnv
  readonly #logPath: string
  readonly #log: WriteStream
  #process: ChildProcess | undefined
  /** Exits that nobody asked for: each is a crash. */
  crashes = 0
  #expected = false

  constructor(name: string, port: number, options: { environment: NodeJS.ProcessEnv; folder: string }) {
    this.name = name
    this.url = `http://127.0.0.1:${port}`
    this.#environment = { ...options.environment, BROKER_PORT: String(port) }
    this.#logPath = join(options.folder, `${name}.log`)
    this.#log = createWriteStream(this.#logPath, { flags: 'a' })
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  get running(): boolean {
    return this.#process !== undefined
  }

  /** Starts the process; resolves when it listens. */
  async start(): Promise<void> {
    const entry = new URL('../../src/cli/osb.js', import.meta.url).pathname
    const child = spawn(process.execPath, [entry, 'serve'], {
      env: this.#environment,
      stdio: ['ignore', 'pipe', 'pipe']
    })
    this.#process = child
    this.#expected = false
    child.stdout.pipe(this.#log, { end: false })
    child.stderr.pipe(this.#log, { end: false })
    child.once('exit', () => {
      if (this.#process === child) this.#process = undefined
      if (!this.#expected) this.crashes += 1
    })
    for (const end = Date.now() + START_WITHIN_MS; this.#process === child; await sleep(50)) {
      if (await answers(`${this.url}/healthz`)) return
      if (Date.now() > end) throw new Error(`${this.name} does not listen after ${START_WITHIN_MS} ms`)
    }
  }

  /** Whether a line of the log has all of these. */
  async logged(...texts: string[]): Promise<boolean> {
    const log = await readFile(this.#logPath, 'utf8')
    return log.split('\n').some((line) => texts.every((text) => line.includes(text)))
  }

  /** Requests that came in, by process and number, and were never answered. */
  async unanswered(): Promise<string[]> {
    const open = new Set<string>()
    for (const line of (await readFile(this.#logPath, 'utf8')).split('\n')) {
      const [, pid, request] = /"pid":(\d+),.*"reqId":"([^"]+)"/.exec(line) ?? []
      if (line.includes('"msg":"incoming request"')) open.add(`${pid} ${request}`)
      if (line.includes('"msg":"request completed"')) open.delete(`${pid} ${request}`)
    }
    return [...open]
  }

  /** Sends a signal that does not end the process. */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#process?.kill(signal)
  }

  /** Ends the process; resolves with how long that took, in milliseconds. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number> {
    const child = this.#process
    if (child === undefined) return 0
    this.#expected = true
    const began = Date.now()
    const exited = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await exited
    return Date.now() - began
  }
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
