import { refusals } from '../../src/core/errors.ts'
import { derive, type ScryptHash } from '../../src/platforms/index.ts'

/** libuv has four threads for everything; the other two are left for files and names of hosts. */
const AT_ONCE = 2
/** Waiting runs of one network. */
const WAITING_OF_NETWORK = 16
/** Waiting runs in total. A run takes about 50 ms, so that the last one waits for a few seconds. */
const WAITING = 256
const RETRY_SECONDS = 2

/** Runs scrypt for a login from a network. */
export type DeriveFor = (password: string, hash: ScryptHash, network: string) => Promise<Buffer>

interface Waiter {
  readonly network: string
  start(): void
  refuse(): void
}

/**
 * scrypt with a bound on concurrent runs, because each takes a thread and tens of megabytes. The network with the fewest
 * failures goes first and is the last to be refused, so that guesses from elsewhere do not keep a platform out.
 * @throws {BrokerError} 503 when too many runs wait
 */
export function boundedScrypt(failuresOf: (network: string) => number, run = derive): DeriveFor {
  const waiting: Waiter[] = []
  let running = 0

  const turn = async (network: string) => {
    if (running < AT_ONCE) {
      running += 1
      return
    }
    const own = waiting.filter((waiter) => waiter.network === network).length
    if (own >= WAITING_OF_NETWORK || (waiting.length >= WAITING && !displaceFor(network))) throw tooMany()
    await new Promise<void>((resolve, reject) => {
      waiting.push({ network, start: resolve, refuse: () => reject(tooMany()) })
    })
  }
  /** Refuses the waiter with the most failures, if it has more than the network. Returns whether there is room now. */
  const displaceFor = (network: string): boolean => {
    const worst = waiting.reduce((one, other) => (failuresOf(other.network) >= failuresOf(one.network) ? other : one))
    if (failuresOf(worst.network) <= failuresOf(network)) return false
    waiting.splice(waiting.indexOf(worst), 1)
    worst.refuse()
    return true
  }
  const done = () => {
    if (waiting.length === 0) {
      running -= 1
      return
    }
    const next = waiting.reduce((one, other) => (failuresOf(other.network) < failuresOf(one.network) ? other : one))
    waiting.splice(waiting.indexOf(next), 1)
    // The run that is done hands its place on.
    next.start()
  }
  return async (password, hash, network) => {
    await turn(network)
    try {
      return await run(password, hash)
    } finally {
      done()
    }
  }
}

function tooMany() {
  return refusals.unavailable('Too many passwords are being checked at once.', RETRY_SECONDS)
}
