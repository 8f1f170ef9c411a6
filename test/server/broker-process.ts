import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { basic } from '../helper/app.ts'
import { removeServer } from '../helper/postgres.ts'

/** The program that `npm start` runs. */
export const osb = fileURLToPath(new URL('../../src/cli/osb.js', import.meta.url))

/** Ids of `postgres`/`free` in the shipped catalog. */
export const shipped = {
  service_id: '8f1f8a8e-3f0c-4d2a-9a55-0f6f6f1c7d01',
  plan_id: '5b0f3c52-6a8e-4f6b-b8a4-2f9d5e3a7c11'
}

/** Environment variables of a process under test; of ours it gets none but those that any program needs. */
export type Variables = Readonly<Record<string, string>>

/** How a process ended. */
export interface End {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A running process and what it has said. */
export interface Program {
  readonly child: ChildProcess
  readonly pid: number
  readonly stdout: string
  readonly stderr: string
  /** Resolves once the process has ended and all it said has been read. */
  readonly ended: Promise<End>
  readonly running: boolean
}

/** A broker that listens. */
export interface Broker extends Program {
  readonly url: string
  /** What it printed for people. */
  readonly greeting: string
  /** Lines of its log, parsed. */
  readonly log: readonly Record<string, unknown>[]
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  // biome-ignore lint/suspicious/noExplicitAny: tests read bodies of every shape
  readonly body: any
}

const startMs = 30_000
const started = new Set<Program>()
const folders = new Set<string>()
// Comes after an uncaught exception too. The runner ends a file that takes too long with SIGTERM.
process.once('exit', clearUp)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    clearUp()
    process.kill(process.pid, signal)
  })
}

/** A data directory for the brokers of one test; after it they are gone, with their embedded server. */
export function scene(t: TestContext) {
  const dataDir = makeFolder()
  const programs = new Set<Program>()
  // One hook, since hooks run in the order in which they were added, and each part of this needs the one before: a
  // broker would start its server again, and the folder says where the server is.
  t.after(async () => {
    for (const program of programs) await kill(program)
    removeServer(join(dataDir, 'postgresql'))
    removeFolder(dataDir)
  })
  const run = (args: string[], variables: Variables = {}) => {
    const program = runOsb(args, { BROKER_DATA_DIR: dataDir, ...variables })
    programs.add(program)
    return program
  }
  const serve = async (variables: Variables = {}) =>
    await listening(run(['serve'], { BROKER_PORT: '0', LOG_LEVEL: 'warn', ...variables }))
  return { dataDir, run, serve }
}

/** A folder that is gone after the test. */
export function temporaryFolder(t: TestContext): string {
  const path = makeFolder()
  t.after(() => removeFolder(path))
  return path
}

function makeFolder(): string {
  const path = mkdtempSync(join(tmpdir(), 'osb-process-'))
  folders.add(path)
  return path
}

function removeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 10 })
  folders.delete(path)
}

function runOsb(args: string[], variables: Variables): Program {
  const child = spawn(process.execPath, [osb, ...args], {
    // A process group of its own, as a terminal gives it: Ctrl-C reaches every process in it.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...plainEnvironment(), ...variables }
  })
  return watch(child)
}

/** What a shell gives any program; nothing that configures a broker. */
export function plainEnvironment(): Record<string, string> {
  const names = ['PATH', 'HOME', 'TMPDIR', 'SystemRoot', 'NODE_V8_COVERAGE', 'NODE_COMPILE_CACHE']
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]]))
  )
}

/** Collects what a process says. */
export function watch(child: ChildProcess): Program {
  const said = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    said.stdout += text
  })
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said.stderr += text
  })
  const program = {
    child,
    pid: child.pid ?? 0,
    get stdout() {
      return said.stdout
    },
    get stderr() {
      return said.stderr
    },
    ended: once(child, 'close').then(([code, signal]) => ({ code, signal })),
    get running() {
      return child.exitCode === null && child.signalCode === null
    }
  }
  started.add(program)
  return program
}

/** The broker, once it has said where it listens. */
export async function listening(program: Program): Promise<Broker> {
  const greeting = await until(
    'the broker greets',
    () => {
      if (!program.running) throw new Error(`the broker ended: ${program.stderr}${program.stdout}`)
      const text = lines(program.stdout, false).join('\n')
      return /^The broker listens on /m.test(text) && text.endsWith('\n\n') && text
    },
    startMs
  )
  const url = /^The broker listens on (\S+) /m.exec(greeting)?.[1] ?? ''
  return Object.defineProperties(program, {
    url: { value: url },
    greeting: { value: greeting },
    // The last line may not be whole yet.
    log: { get: () => lines(program.stdout.replace(/[^\n]*$/, ''), true).map((line) => JSON.parse(line)) }
  }) as Broker
}

function lines(text: string, json: boolean): string[] {
  return text.split('\n').filter((line) => line.startsWith('{') === json)
}

/** Sends a signal and waits for the end. */
export async function end(program: Program, signal: NodeJS.Signals): Promise<End> {
  program.child.kill(signal)
  return await program.ended
}

async function kill(program: Program): Promise<void> {
  if (program.running) program.child.kill('SIGKILL')
  await program.ended
}

function clearUp(): void {
  for (const { child, running } of started) if (running) child.kill('SIGKILL')
  for (const folder of folders) {
    removeServer(join(folder, 'postgresql'))
    removeFolder(folder)
  }
}

/** Requests as a platform sends them, with the credentials given, else those in the data directory. */
export function platformOf(broker: Pick<Broker, 'url'>, userpass: string) {
  const [username = '', ...password] = userpass.split(':')
  const headers = { authorization: basic(username, password.join(':')), 'x-broker-api-version': '2.17' }
  return async (method: string, path: string, body?: object): Promise<Answer> => {
    const reply = await fetch(broker.url + path, {
      method,
      headers: { ...headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(20_000)
    })
    return { status: reply.status, headers: reply.headers, body: await reply.json() }
  }
}

/** What embedded storage keeps about its server in the data directory of a broker. */
export function embeddedServer(dataDir: string) {
  const folder = join(dataDir, 'postgresql')
  const read = (path: string) => readFileSync(path, 'utf8').trim()
  const pointer = join(folder, 'cluster-location')
  const home = existsSync(pointer) ? read(pointer) : folder
  const port = Number(read(join(folder, 'port')))
  const urlOf = (database: string) =>
    `postgresql://postgres:${encodeURIComponent(read(join(folder, 'password')))}@127.0.0.1:${port}/${database}`
  const pid = () => Number(read(join(home, 'cluster', 'postmaster.pid')).split('\n')[0])
  return { port, urlOf, pid }
}

/** Whether anything listens on a port of this machine. */
export async function listens(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** The rows of one statement. */
export async function query(url: string, sql: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 })
  client.on('error', () => undefined)
  await client.connect()
  try {
    return (await client.query<Record<string, unknown>>(sql, values)).rows
  } finally {
    await client.end()
  }
}

/** Waits until the condition answers something. */
export async function until<Result>(
  what: string,
  condition: () => Promise<Result | undefined | false> | Result | undefined | false,
  withinMs = 20_000
): Promise<Result> {
  for (const stop = Date.now() + withinMs; Date.now() < stop; await delay(20)) {
    const answer = await condition()
    if (answer !== undefined && answer !== false) return answer
  }
  throw new Error(`waited ${withinMs} ms in vain: ${what}`)
}
