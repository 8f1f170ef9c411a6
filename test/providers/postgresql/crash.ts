import type { TestContext } from 'node:test'
import { Client } from 'pg'

/** Where a worker dies: before a statement reaches the server, or after the server has done it. */
export type Moment = 'before' | 'after'

const CRASH = 'the worker crashed'

/** Breaks the statements of every connection that is used while {@link Crashes.during} runs. */
export class Crashes {
  readonly #original = Client.prototype.query
  #left: number | undefined
  #moment: Moment = 'before'
  /** The statements sent last. */
  readonly sent: string[] = []

  constructor(t: TestContext) {
    const crashes = this
    t.mock.method(Client.prototype, 'query', function (this: Client, ...args: unknown[]) {
      return crashes.#query(this, args)
    })
  }

  /** Runs the work and crashes it at its nth statement; true when it ended before it came to that. */
  async during(work: () => Promise<unknown>, { at, moment }: { at: number; moment: Moment }): Promise<boolean> {
    this.#left = at
    this.#moment = moment
    this.sent.length = 0
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
    const send = (): unknown => Reflect.apply(this.#original, client, args)
    if (this.#left === undefined) return send()
    this.#left -= 1
    this.sent.push(String(args[0]))
    if (this.#left > 0) return send()
    // A dead worker sends nothing more, and only the statement it died at may still be done
    const failure = new Error(CRASH)
    const callback = args.at(-1)
    // Of a pool's own `query`, whose statements prepare the server
    if (typeof callback === 'function') return process.nextTick(callback, failure)
    if (this.#left < 0 || this.#moment === 'before') return Promise.reject(failure)
    return Promise.resolve(send()).then(() => Promise.reject(failure))
  }
}
