import type { JsonObject } from '../../schemas/common.ts'
import type { Transport } from '../client/transport.ts'
import { type AnswerRule, type Check, NotApplicable, type Result, type Rule, Violation } from './check.ts'
import { answerRules } from './checks/answers.ts'
import { checks as allChecks } from './checks/index.ts'
import { type Exchange, shown, Wire } from './exchange.ts'
import { Refusals } from './refusals.ts'
import { Subject } from './subject.ts'
import { type Choice, chooseTarget, type Target, TargetError, UnreadableCatalog } from './target.ts'
import { Traces } from './traces.ts'

/** Which broker is tried, and what of it. */
export interface ConformanceOptions extends Choice {
  /** What carries the requests; see `httpTransport` and `injectTransport` of `…/client`. */
  readonly transport: Transport
  /** Basic credentials. Without them requests carry no `Authorization`. */
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** What `X-Broker-API-Version` says; default `2.17`. */
  readonly apiVersion?: string | undefined
  /** How long one operation may take, in milliseconds; default 600,000. */
  readonly pollTimeoutMs?: number | undefined
  /** Parameters of the provisions, where the plan needs some. */
  readonly parameters?: JsonObject | undefined
  /** Runs the checks of these ids alone, `provision/` standing for all that begin so; default: all. */
  readonly only?: readonly string[] | undefined
}

/** What a run comes to. */
export interface ConformanceReport {
  readonly results: readonly Result[]
  /** No MUST failed. */
  readonly conforms: boolean
}

export const DEFAULT_API_VERSION = '2.17'
const DEFAULT_POLL_TIMEOUT_MS = 600_000
/** So many of the exchanges before a fault are shown. */
const SHOWN_EXCHANGES = 3
/** So many examples of an answer that breaks a rule. */
const SHOWN_FAULTS = 3

/** One run against one plan of one broker. Checks run one after another; {@link finish} removes what is left. */
export class ConformanceRun {
  readonly checks: readonly Check[]
  readonly target: Target
  readonly #subject: Subject
  readonly #traces: Traces
  readonly #refusals: Refusals
  readonly #recorder: Recorder
  readonly #timeoutMs: number
  readonly #leftBehind: string[] = []

  private constructor(target: Target, wire: Wire, recorder: Recorder, { only, pollTimeoutMs }: ConformanceOptions) {
    const timeoutMs = pollTimeoutMs ?? DEFAULT_POLL_TIMEOUT_MS
    this.checks = chosen(only)
    this.target = target
    this.#recorder = recorder
    this.#timeoutMs = timeoutMs
    this.#traces = new Traces()
    this.#refusals = new Refusals()
    this.#subject = new Subject({
      target,
      wire,
      traces: this.#traces,
      refusals: this.#refusals,
      poll: { timeoutMs }
    })
  }

  /**
   * Reads the catalog and chooses what to try.
   * @throws {TargetError} when the catalog does not hold what was chosen
   * @throws {UnreadableCatalog} when there is no catalog to choose from
   */
  static async open(options: ConformanceOptions): Promise<ConformanceRun> {
    const { transport, username, password, apiVersion = DEFAULT_API_VERSION } = options
    const recorder = new Recorder()
    const authorization =
      username === undefined ? undefined : `Basic ${Buffer.from(`${username}:${password ?? ''}`).toString('base64')}`
    const wire = new Wire(transport, { authorization, apiVersion }, (exchange) => recorder.add(exchange))
    const target = chooseTarget(await wire.send({ method: 'GET', path: '/v2/catalog' }), options)
    return new ConformanceRun(target, wire, recorder, options)
  }

  /** Runs one check and removes what it made. Never throws. */
  async run(check: Check): Promise<Result> {
    const reason = check.skip?.(this.target)
    if (reason !== undefined) return resultOf(check, 'skipped', { detail: reason })
    const started = performance.now()
    this.#recorder.begin()
    const outcome = await this.#outcome(check)
    const result = { ...outcome, durationMs: Math.round(performance.now() - started) }
    this.#leftBehind.push(...(await this.#traces.remove(this.#subject, { timeoutMs: this.#timeoutMs, all: false })))
    return result
  }

  /** Removes what all checks shared, and answers what only the whole run can show. */
  async finish(): Promise<Result[]> {
    this.#leftBehind.push(...(await this.#traces.remove(this.#subject, { timeoutMs: this.#timeoutMs, all: true })))
    const { faults, compared } = this.#refusals
    return [
      ...answerRules.map((rule) => this.#recorder.judge(rule)),
      compared === 0
        ? resultOf(UNCHANGED, 'skipped', { detail: 'nothing was refused' })
        : resultOf(UNCHANGED, faults.length === 0 ? 'passed' : 'failed', { detail: examples(faults) }),
      resultOf(REMOVED, this.#leftBehind.length === 0 ? 'passed' : 'failed', { detail: examples(this.#leftBehind) })
    ]
  }

  async #outcome(check: Check): Promise<Result> {
    try {
      await check.run(this.#subject)
      return resultOf(check, 'passed')
    } catch (error) {
      if (error instanceof NotApplicable) return resultOf(check, 'skipped', { detail: error.message })
      const message = error instanceof Violation ? error.message : `the check broke off: ${String(error)}`
      return resultOf(check, 'failed', { detail: [message, ...this.#recorder.recent()].join('\n') })
    }
  }
}

/**
 * Runs every check against one plan of one broker and leaves nothing behind.
 * @param onResult called as soon as each result is there
 * @throws {TargetError} when the catalog does not hold what was chosen
 */
export async function runConformance(
  options: ConformanceOptions,
  onResult: (result: Result) => void = () => {}
): Promise<ConformanceReport> {
  const results: Result[] = []
  const take = (result: Result) => {
    results.push(result)
    onResult(result)
  }
  const run = await opened(options, take)
  if (run === undefined) return { results, conforms: false }
  try {
    for (const check of run.checks) take(await run.run(check))
  } finally {
    for (const result of await run.finish()) take(result)
  }
  return { results, conforms: !results.some(({ level, status }) => level === 'MUST' && status === 'failed') }
}

/** Without a catalog there is one result: that there is none. */
async function opened(
  options: ConformanceOptions,
  take: (result: Result) => void
): Promise<ConformanceRun | undefined> {
  try {
    return await ConformanceRun.open(options)
  } catch (error) {
    if (!(error instanceof UnreadableCatalog)) throw error
    take(resultOf(READABLE, 'failed', { detail: error.message }))
    return undefined
  }
}

const READABLE: Rule = {
  id: 'catalog/can-be-read',
  section: 'Catalog Management',
  level: 'MUST',
  rule: 'GET /v2/catalog is answered 200 with the offerings of the broker.'
}

/** @throws {TargetError} when an id is that of no check */
function chosen(only: readonly string[] | undefined): readonly Check[] {
  if (only === undefined || only.length === 0) return allChecks
  const matches = (wanted: string, id: string) => id === wanted || (wanted.endsWith('/') && id.startsWith(wanted))
  const unknown = only.find((wanted) => !allChecks.some(({ id }) => matches(wanted, id)))
  if (unknown !== undefined) throw new TargetError(`There is no check "${unknown}".`)
  return allChecks.filter(({ id }) => only.some((wanted) => matches(wanted, id)))
}

const UNCHANGED: Rule = {
  id: 'errors/refusals-change-nothing',
  section: 'Service Broker Errors',
  level: 'MUST',
  rule: 'A status code in the 4xx range leaves the resources of the broker semantically unchanged.'
}

const REMOVED: Rule = {
  id: 'deprovision/everything-can-be-removed',
  section: 'Deprovisioning',
  level: 'MUST',
  rule: 'Whatever was made can be deleted, whatever became of it in between.'
}

function resultOf(
  { id, section, level, rule }: Rule,
  status: Result['status'],
  { detail = '' }: { detail?: string } = {}
): Result {
  return { id, section, level, rule, status, detail, durationMs: 0 }
}

function examples(faults: readonly string[]): string {
  const more = faults.length > SHOWN_FAULTS ? [`… and ${faults.length - SHOWN_FAULTS} more`] : []
  return [...faults.slice(0, SHOWN_FAULTS), ...more].join('\n')
}

/** The exchanges of a run: the last ones for people, all of them for the rules about every answer. */
class Recorder {
  #recent: Exchange[] = []
  readonly #verdicts = new Map<AnswerRule, { seen: number; faults: string[] }>(
    answerRules.map((rule) => [rule, { seen: 0, faults: [] }])
  )

  /** Judged at once, so that a long run keeps no bodies. */
  add(exchange: Exchange): void {
    this.#recent = [...this.#recent, exchange].slice(-SHOWN_EXCHANGES)
    for (const [rule, verdict] of this.#verdicts) {
      if (!rule.concerns(exchange)) continue
      verdict.seen += 1
      const fault = rule.fault(exchange)
      if (fault !== undefined) verdict.faults.push(`${fault}\n${shown(exchange)}`)
    }
  }

  begin(): void {
    this.#recent = []
  }

  recent(): string[] {
    return this.#recent.map(shown)
  }

  judge(rule: AnswerRule): Result {
    const { seen, faults } = this.#verdicts.get(rule) ?? { seen: 0, faults: [] }
    if (seen === 0) return resultOf(rule, 'skipped', { detail: 'no such answer was seen' })
    return resultOf(rule, faults.length === 0 ? 'passed' : 'failed', { detail: examples(faults) })
  }
}
