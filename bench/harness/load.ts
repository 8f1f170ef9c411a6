import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Busy, processorSeconds } from './busy.ts'
import type { LoadOrder, LoadReport } from './load-process.ts'
import { type Place, placed } from './processes.ts'
import type { Sample } from './rounds.ts'

const program = fileURLToPath(new URL('load-process.ts', import.meta.url))

/** Whom load is put on. */
export interface LoadTarget {
  readonly url: string
  readonly pid: number
  readonly headers?: Readonly<Record<string, string>>
}

/** What load, and by whom. */
export interface LoadOptions extends Omit<LoadOrder, 'salt' | 'url' | 'headers'> {
  /** Beside those of the target. */
  readonly headers?: Readonly<Record<string, string>>
  readonly place?: Place
  /** Share of the requests that may be answered otherwise than the scenario says; default: none. */
  readonly mayRefuse?: number
  /** Process of the database that has work by it, for {@link Busy}. */
  readonly database?: number
}

/** What a server has done under load. */
export interface Load extends LoadReport {
  readonly busy: Busy
}

/**
 * Puts load on a server, from a process of its own.
 * @throws {Error} when a request was refused or lost, and may not be: a figure of refusals is none
 */
export async function load(target: LoadTarget, options: LoadOptions): Promise<Load> {
  const { place = 'others', mayRefuse = 0, database, headers, ...rest } = options
  const salt = randomBytes(4).toString('hex')
  const order: LoadOrder = { ...rest, url: target.url, headers: { ...target.headers, ...headers }, salt }
  const [command = '', ...args] = placed(place, [process.execPath, program, JSON.stringify(order)])
  const pids = { server: target.pid, database }
  const before = secondsOf(pids)
  const { stdout } = await promisify(execFile)(command, args)
  const after = secondsOf(pids)
  const report: LoadReport = JSON.parse(stdout)
  if (report.errors > 0 || report.refused > report.requests * mayRefuse || report.requests === 0) {
    throw new Error(`${order.scenario} at ${order.url}${order.path}: ${stdout}`)
  }
  const share = (part: keyof typeof pids) => {
    const [from, to] = [before[part], after[part]]
    return from === undefined || to === undefined ? {} : { [part]: (to - from) / report.seconds }
  }
  const busy = { load: report.processorSeconds / report.seconds, ...share('server'), ...share('database') }
  return { ...report, busy }
}

/**
 * For figures of the processor's: how fast compiled code is. A broker's is compiled after some ten thousand requests, which is
 * more than a short first round; the bare routes are so little that theirs is enough.
 */
export async function warmUp(target: LoadTarget, options: Omit<LoadOptions, 'seconds'>): Promise<void> {
  await load(target, { ...options, seconds: 3 })
}

/** Requests a second, as they came: for what waits for a database too. */
export function perSecond({ requests, seconds, busy }: Load): Sample {
  return { value: requests / seconds, busy }
}

/**
 * Requests in a second of the server's processor time: what it can do with a core, for what needs nothing else. Load that
 * cannot keep up, or others on the machine, change it little; where the server is busy all the time it is requests a second.
 * By the clock where the system does not tell of processor time.
 */
export function perProcessorSecond({ requests, seconds, busy }: Load): Sample {
  return { value: requests / (seconds * (busy.server ?? 1)), busy }
}

function secondsOf({ server, database }: { server: number; database: number | undefined }) {
  return {
    server: processorSeconds(server),
    database: database === undefined ? undefined : processorSeconds(database)
  }
}
