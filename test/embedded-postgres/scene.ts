import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, constants, cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import type { EmbeddedPostgresOptions } from '../../src/embedded-postgres/index.ts'
import { isRoot } from '../../src/embedded-postgres/server-account.ts'
import { removeServer } from '../helper/postgres.ts'
import { makeProject } from './project.ts'

/** A process that runs an embedded server. */
export interface Owner {
  port: number
  adminUrl: string
  clusterDir: string
  /** Of the server. */
  pid: number
  process: ChildProcess
  /** What it reported, as the lines of its log or the type of a message. */
  lines: string[]
  /** kill -9 */
  kill: () => Promise<void>
  /** Asks it to stop the server; resolves with the exit code once the process has ended by itself. */
  stop: () => Promise<unknown>
}

/** The error an owner process reported instead of a server. */
export class OwnerFailure extends Error {
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

interface StartOptions extends Partial<EmbeddedPostgresOptions> {
  /** Default: `owner-process.ts` here. */
  script?: string
  uid?: number
}

const ownScript = fileURLToPath(new URL('owner-process.ts', import.meta.url))

/** A folder for a test, and processes that use it as their data directory; all of it gone after the test. */
export function scene(t: TestContext) {
  const dataDir = mkdtempSync(join(tmpdir(), 'osb-embedded-'))
  const processes = new Set<ChildProcess>()
  const dataDirs = [dataDir]
  // The checkout, and Node in it, may be in a home that is root's alone.
  let reachable: string | undefined
  const reachableScript = () => {
    reachable ??= makeProject(publicFolder(t)).script
    return reachable
  }
  const reachableNode = () => {
    const path = join(publicFolder(t), 'node')
    cpSync(process.execPath, path, { mode: constants.COPYFILE_FICLONE })
    chmodSync(path, 0o755)
    return path
  }
  t.after(async () => {
    for (const child of processes) await killOwner(child)
    for (const folder of dataDirs) removeServer(folder)
  })
  const launch = (options: StartOptions = {}) => {
    const { uid, ...forAll } = options
    const { script = uid === undefined ? ownScript : reachableScript(), ...rest } = forAll
    const child = fork(script, [JSON.stringify({ dataDir, ...rest })], {
      detached: true,
      env: { ...process.env, NODE_TEST_CONTEXT: undefined },
      ...(uid === undefined ? {} : { uid, gid: uid, cwd: '/', execPath: reachableNode() })
    })
    processes.add(child)
    dataDirs.unshift(rest.dataDir ?? dataDir) // what lies within goes before it
    return child
  }
  return { dataDir, launch, start: (options?: StartOptions) => started(launch(options)) }
}

async function started(child: ChildProcess): Promise<Owner> {
  const lines: string[] = []
  return await new Promise((resolve, reject) => {
    child.once('exit', (code) => {
      const early = () => reject(new OwnerFailure('ended', `the owner ended early with code ${code}`))
      // The last message can arrive after the exit.
      if (child.connected) child.once('disconnect', early)
      else setImmediate(early)
    })
    child.on('message', (message: { type: string; line?: string; message?: string; code?: string }) => {
      lines.push(message.line ?? message.type)
      if (message.type === 'failed') reject(new OwnerFailure(message.code ?? '', message.message ?? ''))
      if (message.type === 'started') resolve(ownerOf(child, lines, message))
    })
  })
}

function ownerOf(child: ChildProcess, lines: string[], message: object): Owner {
  const { port, adminUrl, clusterDir, pid } = message as Owner
  const stop = async () => {
    const ended = once(child, 'exit')
    child.send('stop')
    const [code] = await ended
    return code
  }
  return { port, adminUrl, clusterDir, pid, process: child, lines, kill: () => killOwner(child), stop }
}

async function killOwner(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const ended = once(child, 'exit')
  child.kill('SIGKILL')
  await ended
}

/** A folder that other accounts can enter, removed after the test. */
export function publicFolder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'osb-embedded-'))
  chmodSync(path, 0o755)
  t.after(() => {
    makeWritable(path)
    rmSync(path, { recursive: true, force: true, maxRetries: 10 })
  })
  return path
}

// What a test has made read-only could not be removed.
function makeWritable(folder: string): void {
  if (!existsSync(folder)) return
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) makeWritable(join(folder, entry.name))
  }
}

/** Options that start an owner without root: where the tests run as root, as `nobody`, to whom the folder is given. */
export function withoutRoot(dataDir: string): { uid?: number } {
  if (!isRoot) return {}
  chownSync(dataDir, nobody, nobody)
  return { uid: nobody }
}

const nobody = 65_534

/** The rows of one statement. */
export async function query(url: string, sql: string): Promise<Record<string, unknown>[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return (await client.query<Record<string, unknown>>(sql)).rows
  } finally {
    await client.end()
  }
}

/** Waits until the condition answers something. */
export async function until<Result>(
  what: string,
  condition: () => Promise<Result | undefined | false> | Result | undefined | false,
  withinMs = 30_000
): Promise<Result> {
  for (const end = Date.now() + withinMs; Date.now() < end; await delay(20)) {
    const answer = await condition()
    if (answer !== undefined && answer !== false) return answer
  }
  throw new Error(`waited ${withinMs} ms in vain: ${what}`)
}
