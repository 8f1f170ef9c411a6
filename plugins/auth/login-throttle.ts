import { refusals } from '../../src/core/errors.ts'
import { type FailedLogins, MAX_FAILURES } from './failed-logins.ts'

/** Time between two checks for a network with too many failures. It bounds brute force to four guesses per second. */
export const PACE_MS = 250
/** Waiting checks of one network. The last one waits for 5 s, which is less than any platform's timeout. */
export const MAX_WAITING = 20
/** All checks that wait now are done by then. */
const RETRY_AFTER_SECONDS = Math.ceil((MAX_WAITING * PACE_MS) / 1_000)

export interface ThrottledLogin {
  /** See `networkOf`. */
  readonly network: string
  /** Equal for equal logins of one network. Equal logins share one check, so that a platform never competes with itself. */
  readonly key: string
  /** Returns the platform, or undefined for wrong credentials. */
  check(): Promise<string | undefined>
}

export interface CheckedLogin {
  readonly platform: string | undefined
  /** Failures of the network, including this one. */
  readonly failures: number
}

/** Checks of one network that run or wait. */
interface Line {
  running: number
  readonly waiting: (() => void)[]
  timer?: NodeJS.Timeout
}

/**
 * Decides when a login is checked. A network with many failures is slowed down instead of locked out, because correct
 * credentials must work even if somebody else guesses from behind the same proxy or NAT. Lines exist only while requests
 * wait, so their number is bounded by the number of connections.
 */
export class LoginThrottle {
  readonly #failures: FailedLogins
  readonly #lines = new Map<string, Line>()
  readonly #underWay = new Map<string, Promise<CheckedLogin>>()

  constructor(failures: FailedLogins) {
    this.#failures = failures
  }

  /** @throws {BrokerError} 429 when too many logins of the network wait already */
  check(login: ThrottledLogin): Promise<CheckedLogin> {
    const known = this.#underWay.get(login.key)
    if (known !== undefined) return known
    const checked = this.#checkInTurn(login).finally(() => this.#underWay.delete(login.key))
    this.#underWay.set(login.key, checked)
    return checked
  }

  async #checkInTurn({ network, check }: ThrottledLogin): Promise<CheckedLogin> {
    const line = this.#lines.get(network) ?? { running: 0, waiting: [] }
    this.#lines.set(network, line)
    if (line.waiting.length === 0 && this.#hasRoom(network, line)) line.running += 1
    else await this.#wait(network, line)
    try {
      const platform = await check()
      const failures = platform === undefined ? this.#failures.add(network) : this.#failures.countOf(network)
      return { platform, failures }
    } finally {
      line.running -= 1
      this.#advance(network, line)
    }
  }

  #wait(network: string, line: Line): Promise<void> {
    if (line.waiting.length >= MAX_WAITING) {
      // Not the end of the window, because the refused login may be a correct one.
      throw refusals.tooManyFailures(RETRY_AFTER_SECONDS)
    }
    const turn = new Promise<void>((resolve) => line.waiting.push(resolve))
    this.#advance(network, line)
    return turn
  }

  /** Running checks count as failures, so that concurrent guesses cannot exceed the limit. */
  #hasRoom(network: string, line: Line): boolean {
    return this.#failures.countOf(network) + line.running < MAX_FAILURES
  }

  #advance(network: string, line: Line): void {
    while (line.waiting.length > 0 && this.#hasRoom(network, line)) this.#startNext(line)
    if (line.waiting.length > 0 && this.#failures.countOf(network) >= MAX_FAILURES) {
      line.timer ??= setTimeout(() => {
        delete line.timer
        this.#startNext(line)
        this.#advance(network, line)
      }, PACE_MS)
    }
    if (line.waiting.length === 0 && line.running === 0) this.#lines.delete(network)
  }

  #startNext(line: Line): void {
    const start = line.waiting.shift()
    if (start === undefined) return
    line.running += 1
    start()
  }
}
