import type { TestContext } from 'node:test'
import { Client } from 'pg'

const CRASH = 'the worker crashed'

/** Breaks the statements of every connection that is used while {@link Crashes.during} runs. */
export class Crashes {
  readonly #original = Client.prototype.query
  #left: number | undefined

  constructor(t: TestContext) {
    const crashes = this
    t.mock.method(Client.prototype, 'query', function (this: Client, ...args: unknown[]) {
      return crashes.#query(this, args)
    })
  }

  /** Runs the work and crashes it before its nth statement; true when it ended before it came to that. */
  async during(work: () => Promise<unknown>, at: number): Promise<boolean> {
    this.#left = at
    try {
      await work()
      return true
    } catch (error) {
      if (error instanceof Error && error.message === CRASH) return false
      throw error
    } finally {
      this.#left = undefined
    }
  }

  #query(client: Client, args: unknown[]): unknown {
    if (this.#left !== undefined) this.#left -= 1
    if (this.#left === undefined || this.#left > 0) return Reflect.apply(this.#original, client, args)
    // A dead worker sends nothing more
    const failure = new Error(CRASH)
    const callback = args.at(-1)
    if (typeof callback !== 'function') return Promise.reject(failure)
    // Of a pool's own `query`, whose statements prepare the server
    return process.nextTick(callback, failure)
  }
}
