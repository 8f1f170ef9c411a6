import { randomUUID } from 'node:crypto'
import { appendFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { Act, Verb } from './script.ts'

/** One call of the scripted provider. */
export interface Call {
  readonly id: string
  readonly verb: Verb
  readonly act: Act
  readonly operation: string
  readonly attempt: number
  readonly instance: string
  readonly binding?: string
  readonly pid: number
  /** Milliseconds of the clock that all processes of the machine share, the database server included. */
  readonly began: number
  /** When its signal aborted; absent when it did not before the end. */
  readonly aborted?: number
  /** Absent while it runs, and when its process ended first. */
  readonly ended?: number
}

/**
 * Writes down when calls of the provider begin and end. A file, written synchronously: neither a fault of the network nor a
 * kill must lose a line. The clock is the real one even where the replica's `Date` is skewed.
 */
export class CallRecorder {
  readonly #path: string

  constructor(path: string) {
    this.#path = path
  }

  begin(call: Omit<Call, 'id' | 'pid' | 'began' | 'aborted' | 'ended'>): string {
    const id = randomUUID()
    this.#write({ ...call, id, pid: process.pid, began: realNow() })
    return id
  }

  abort(id: string): void {
    this.#write({ id, aborted: realNow() })
  }

  end(id: string): void {
    this.#write({ id, ended: realNow() })
  }

  #write(line: object): void {
    appendFileSync(this.#path, `${JSON.stringify(line)}\n`)
  }
}

function realNow(): number {
  return Math.round(performance.timeOrigin + performance.now())
}

/** The calls that replicas have recorded, in the order of their beginnings. */
export async function readCalls(paths: readonly string[]): Promise<Call[]> {
  const calls = new Map<string, Call>()
  for (const path of paths) {
    const text = await readFile(path, 'utf8').catch(() => '')
    for (const line of text.split('\n').filter((line) => line !== '')) {
      const part = JSON.parse(line)
      calls.set(part.id, { ...calls.get(part.id), ...part })
    }
  }
  return [...calls.values()].sort((one, other) => one.began - other.began)
}

const ACT_NAMES: Partial<Record<Act, string>> = {
  fail: 'provider: call acts and fails',
  obey: 'provider: call hangs until its signal aborts',
  hang: 'provider: call hangs for ever',
  late: 'provider: call ignores its signal, then checks its fence and acts',
  deaf: 'provider: call ignores its signal and its fence, and acts'
}

/** How many calls went wrong in which way. */
export function countActs(calls: readonly Call[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const { act } of calls) {
    const name = ACT_NAMES[act]
    if (name !== undefined) counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}
