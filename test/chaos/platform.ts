import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from './random.ts'
import type { Scene } from './scene.ts'

/** An answer of the broker. */
export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

/** What clients have seen, by kind; printed at the end. */
export type Counts = Map<string, number>

const REQUEST_TIMEOUT_MS = 15_000
const GIVE_UP_MS = 180_000

/** A platform that knows several replicas and does not give up: the client side of the specification. */
export class Platform {
  readonly #scene: Scene
  readonly #random: Random
  readonly counts: Counts = new Map()
  /** Things that must never be seen. */
  readonly violations: string[] = []

  constructor(scene: Scene, random: Random) {
    this.#scene = scene
    this.#random = random
  }

  /**
   * Sends until there is an answer that means something: a refused or cut connection, a time-out and a 5xx are tried
   * again at another replica, as platforms do.
   */
  async send(method: string, path: string, body?: object): Promise<Answer> {
    for (const end = Date.now() + GIVE_UP_MS; ; ) {
      const answer = await this.#once(method, path, body)
      if (answer !== undefined && answer.status < 500 && !isBusy(answer)) return answer
      if (Date.now() > end)
        throw new Error(`${method} ${path}: no answer after ${GIVE_UP_MS} ms, last ${JSON.stringify(answer)}`)
      await sleep(this.#random.between(50, 400))
    }
  }

  /** Sends, and polls the operation of a 202 to its end. `state` is `succeeded` for a synchronous success. */
  async settle(method: string, path: string, body?: object): Promise<{ answer: Answer; state: string }> {
    const answer = await this.send(method, path, body)
    if (answer.status !== 202) return { answer, state: answer.status < 300 ? 'succeeded' : 'refused' }
    return { answer, state: await this.poll(path, String(answer.body.operation)) }
  }

  /** Polls one operation; it may be `in progress`, and then what it ended as, for good. */
  async poll(path: string, operation: string): Promise<string> {
    const resource = path.split('?')[0]
    for (const end = Date.now() + GIVE_UP_MS; ; ) {
      const { status, body } = await this.send('GET', `${resource}/last_operation?operation=${operation}`)
      if (status !== 200) this.violate(`poll of ${resource} ${operation} answered ${status} ${JSON.stringify(body)}`)
      if (body.state !== 'in progress') {
        if (body.state === 'failed') this.#count(`failed: ${body.description}`)
        await this.#pollAgain(`${resource}/last_operation?operation=${operation}`, body.state)
        return String(body.state)
      }
      if (Date.now() > end) throw new Error(`stuck: ${resource} ${operation} ${JSON.stringify(body)}`)
      await sleep(this.#random.between(100, 500))
    }
  }

  violate(text: string): void {
    this.violations.push(text)
  }

  #count(key: string): void {
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
  }

  async #pollAgain(path: string, state: unknown): Promise<void> {
    const { body } = await this.send('GET', path)
    if (body.state !== state) this.violate(`${path} was ${state} and then ${JSON.stringify(body)}`)
  }

  async #once(method: string, path: string, body?: object): Promise<Answer | undefined> {
    const replica = this.#random.pick(this.#scene.replicas)
    try {
      const response = await fetch(replica.url + path, {
        method,
        headers: this.#scene.headers,
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
      const answer = { status: response.status, body: (await response.json()) as Record<string, unknown> }
      this.#count(`${method} ${answer.status}`)
      return answer
    } catch {
      this.#count('no answer')
      return undefined
    }
  }
}

/** Another operation is running: the platform waits. */
function isBusy({ status, body }: Answer): boolean {
  return status === 422 && body.error === 'ConcurrencyError'
}
