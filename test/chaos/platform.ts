import { setTimeout as sleep } from 'node:timers/promises'
import type { Random } from './random.ts'
import type { Replica } from './replicas.ts'
import type { Scene } from './scene.ts'

/** An answer of the broker. */
export interface Answer {
  readonly status: number
  readonly body: Record<string, unknown>
}

/** What clients have seen, by kind; printed at the end. */
export type Counts = Map<string, number>

/** How an operation ended for its client. */
export interface Told {
  readonly operation: string
  readonly state: string
}

interface PlatformRequest {
  readonly method: string
  readonly path: string
  readonly body: object | undefined
  /** Those that may be asked; default: all. */
  readonly replicas: readonly Replica[] | undefined
}

/** A request or an operation that does not come to its end within this time, once no fault strikes any more, is stuck. */
const CALM_MS = 90_000
/** The same while faults strike. */
const RAGING_MS = 600_000
/** The broker answers within 8 s; the rest is for a loaded machine. A request that takes longer is unanswered. */
const REQUEST_TIMEOUT_MS = 15_000

/** A platform that knows several replicas and does not give up: the client side of the specification. */
export class Platform {
  readonly counts: Counts = new Map()
  /** Things that must never be seen. */
  readonly violations: string[] = []
  /** The operations that clients were answered, with the last state that they were told. */
  readonly told = new Map<string, Told>()
  /** Requests that the client gave up, by replica, method and path: their answers find nobody. */
  readonly givenUp = new Set<string>()
  slowestMs = 0
  readonly #scene: Scene
  readonly #random: Random
  #calmSince: number | undefined

  constructor(scene: Scene, random: Random) {
    this.#scene = scene
    this.#random = random
  }

  /**
   * Sends until there is an answer that means something: after a refused or cut connection, a timeout, a 5xx or a
   * ConcurrencyError it tries again at another replica, as platforms do.
   * @param replicas those that may be asked; default: all
   */
  async send(method: string, path: string, body?: object, replicas?: readonly Replica[]): Promise<Answer> {
    return this.#until((answer) => answer.status < 500 && !isBusy(answer), { method, path, body, replicas })
  }

  /** Sends until there is any answer. */
  async ask(method: string, path: string, body?: object, replicas?: readonly Replica[]): Promise<Answer> {
    return this.#until(() => true, { method, path, body, replicas })
  }

  async #until(isEnough: (answer: Answer) => boolean, request: PlatformRequest): Promise<Answer> {
    const { method, path, replicas = this.#scene.replicas } = request
    for (const began = Date.now(); ; ) {
      const answer = await this.#once(this.#random.pick(replicas), request)
      if (answer !== undefined && isEnough(answer)) return answer
      if (this.#isStuck(began)) throw new Error(`stuck: ${method} ${path}, last ${JSON.stringify(answer)}`)
      await sleep(this.#random.between(50, 400))
    }
  }

  /** Sends, and polls the operation of a 202 to its end. `state` is `succeeded` for a synchronous success. */
  async settle(
    method: string,
    path: string,
    body?: object,
    replicas?: readonly Replica[]
  ): Promise<{ answer: Answer; state: string }> {
    const answer = await this.send(method, path, body, replicas)
    if (answer.status !== 202) return { answer, state: answer.status < 300 ? 'succeeded' : 'refused' }
    return { answer, state: await this.poll(path, String(answer.body.operation)) }
  }

  /** Polls one operation; it may be `in progress`, and then what it ended as, for good. */
  async poll(path: string, operation: string): Promise<string> {
    const resource = path.split('?')[0]
    const url = `${resource}/last_operation?operation=${operation}`
    for (const began = Date.now(); ; ) {
      const { status, body } = await this.send('GET', url)
      if (status !== 200) this.violate(`poll of ${resource} ${operation} answered ${status} ${JSON.stringify(body)}`)
      if (body.state !== 'in progress') {
        if (body.state === 'failed') this.#count(`failed: ${body.description}`)
        this.told.set(operation, { operation, state: String(body.state) })
        const again = await this.send('GET', url)
        if (again.body.state !== body.state)
          this.violate(`${url} was ${body.state} and then ${JSON.stringify(again.body)}`)
        return String(body.state)
      }
      if (this.#isStuck(began)) throw new Error(`stuck: ${resource} ${operation} ${JSON.stringify(body)}`)
      await sleep(this.#random.between(100, 500))
    }
  }

  /** Deletes until it is gone, as orphan mitigation does. */
  async remove(path: string, query: string): Promise<void> {
    for (let tries = 0; tries < 11; tries += 1) {
      const { answer, state } = await this.settle('DELETE', `${path}?${query}`)
      if (state === 'succeeded' || answer.status === 410) return
    }
    this.violate(`DELETE ${path} did not come to an end in 11 tries`)
  }

  violate(text: string): void {
    console.log(`violation: ${text}`)
    this.violations.push(text)
  }

  /** To be called when no fault strikes any more. */
  calm(): void {
    this.#calmSince = Date.now()
  }

  #isStuck(since: number): boolean {
    const now = Date.now()
    if (this.#calmSince === undefined) return now - since > RAGING_MS
    return now - Math.max(since, this.#calmSince) > CALM_MS
  }

  #count(key: string): void {
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1)
  }

  async #once(replica: Replica, { method, path, body }: PlatformRequest): Promise<Answer | undefined> {
    const began = Date.now()
    const { pid } = replica
    try {
      const response = await fetch(replica.url + path, {
        method,
        headers: this.#scene.headers,
        signal: AbortSignal.timeout(REQUEST_TIMEOUT_MS),
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
      const answer = { status: response.status, body: (await response.json()) as Record<string, unknown> }
      this.#count(`${method} ${answer.status}`)
      const { operation } = answer.body
      if (answer.status === 202 && typeof operation === 'string' && !this.told.has(operation))
        this.told.set(operation, { operation, state: 'in progress' })
      if (!wasFrozen(replica, began)) this.slowestMs = Math.max(this.slowestMs, Date.now() - began)
      return answer
    } catch (error) {
      this.#count('no answer')
      const late = error instanceof Error && error.name === 'TimeoutError'
      if (late) this.givenUp.add(`${replica.name} ${method} ${path.split('?')[0]}`)
      if (late && replica.pid === pid && !wasFrozen(replica, began))
        this.violate(`${method} ${path} at ${replica.name} was not answered in ${REQUEST_TIMEOUT_MS} ms`)
      return undefined
    }
  }
}

/** A process that is stopped answers nothing, and needs no excuse. */
function wasFrozen({ freezes }: Replica, since: number): boolean {
  return freezes.some(({ to }) => to > since)
}

/** Another operation is running: the platform waits. */
function isBusy({ status, body }: Answer): boolean {
  return status === 422 && body.error === 'ConcurrencyError'
}
