import fc from 'fast-check'
import { endpointOf } from '../../src/client/endpoint.ts'
import { type FuzzAnswer, FuzzClient } from './client.ts'
import { violationOf } from './expectations.ts'
import { attempts, type Extent, type Failure, type Part } from './part.ts'
import { beginnings, type FuzzRequest, requests } from './requests.ts'
import { LATEST_OPERATION } from './values.ts'

/** What a broker keeps, as far as it is to stay as it is; equal texts, equal states. */
export interface StateView {
  /**
   * Waits until nothing changes by itself.
   * @param prefix of the ids of the sequence; those of other sequences are left out
   */
  read(prefix: string): Promise<string>
}

export interface SequencesTarget {
  readonly url: string
  /** With it, a refusal that changes the state is found, and one request is sent after another. */
  readonly state?: StateView
}

const MAX_LENGTH = 30
/** So many requests at once, where the state is not looked at. */
const LANES = 3

/** Sequences of requests against a few ids of their own, so that they meet what the earlier ones have made. */
export async function sequences(target: SequencesTarget, { requests: count, seed, path }: Extent): Promise<Part> {
  const client = new FuzzClient(target.url)
  const answers = new Map<string, number>()
  let runs = 0
  const property = fc.asyncProperty(
    fc.constantFrom(...beginnings),
    fc.array(requests, { minLength: 1, maxLength: MAX_LENGTH, size: 'max' }),
    attempts(async (beginning: readonly FuzzRequest[], requests: FuzzRequest[]) => {
      runs += 1
      const sequence = new Sequence(target, client, { prefix: `${seed}-${runs}-`, answers })
      await sequence.run(beginning, 1)
      await sequence.run(requests, target.state === undefined ? LANES : 1)
    })
  )
  try {
    const numRuns = path === undefined ? Math.ceil(count / (MAX_LENGTH / 2)) : 1
    const details = await fc.check(property, { seed, numRuns, ...(path === undefined ? {} : { path }) })
    const failure: Failure | undefined = details.failed
      ? { path: details.counterexamplePath ?? '', message: messageOf(details.errorInstance), example: shown(details) }
      : undefined
    return { seed, sent: client.sent, answers, ...(failure === undefined ? {} : { failure }) }
  } finally {
    client.close()
  }
}

class Sequence {
  readonly #target: SequencesTarget
  readonly #client: FuzzClient
  readonly #prefix: string
  readonly #answers: Map<string, number>
  #operation = 'none'
  #state: string | undefined

  constructor(target: SequencesTarget, client: FuzzClient, own: { prefix: string; answers: Map<string, number> }) {
    this.#target = target
    this.#client = client
    this.#prefix = own.prefix
    this.#answers = own.answers
  }

  async run(sequence: readonly FuzzRequest[], lanes: number): Promise<void> {
    this.#state = await this.#target.state?.read(this.#prefix)
    for (let next = 0; next < sequence.length; next += lanes) {
      await Promise.all(sequence.slice(next, next + lanes).map((request) => this.#send(this.#ours(request))))
    }
  }

  async #send(request: FuzzRequest): Promise<void> {
    const answer = await this.#client.send(request)
    this.#count(request, answer)
    const violation = violationOf(request, answer)
    if (violation !== undefined) throw new Error(`${request.method} ${cut(request.path)}: ${cut(violation)}`)
    this.#operation = /"operation":"([^"]+)"/.exec(answer.body)?.[1] ?? this.#operation
    const after = await this.#target.state?.read(this.#prefix)
    if (answer.status >= 400 && after !== this.#state) {
      throw new Error(`${request.method} ${cut(request.path)}: ${answer.status} has changed the state`)
    }
    this.#state = after
  }

  #ours({ path, body, ...rest }: FuzzRequest): FuzzRequest {
    const named = (text: string) =>
      text
        .replaceAll(/~(?=[ib][12])/g, this.#prefix)
        .replaceAll(LATEST_OPERATION, this.#operation)
        .replaceAll(encodeURIComponent(LATEST_OPERATION), this.#operation)
    return { ...rest, path: named(path), ...(body === undefined ? {} : { body: named(body) }) }
  }

  #count({ method, path }: FuzzRequest, { status }: FuzzAnswer): void {
    const key = `${endpointOf(method, path.split('?')[0] ?? '')} ${status}`
    this.#answers.set(key, (this.#answers.get(key) ?? 0) + 1)
  }
}

/** The requests of the shortest sequence that fails, one a line. */
function shown({ counterexample }: fc.RunDetails<[readonly FuzzRequest[], FuzzRequest[]]>): string[] {
  const [beginning, sequence] = counterexample ?? [[], []]
  return [...beginning, ...sequence].map(({ method, path, headers, body = '' }) => {
    return `${method} ${cut(path)} ${cut(JSON.stringify(headers))} ${cut(JSON.stringify(body))}`
  })
}

function cut(text: string): string {
  return text.length <= 500 ? text : `${text.slice(0, 500)}… (${text.length})`
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
