/** Of one kind of attack. */
export interface AttackRecord {
  started: number
  /** How often it took effect. */
  begun: number
  /** How often the attacker got new credentials because its logins were suspended. */
  renewed: number
  /** What ended its sessions, and how often. */
  readonly ends: Map<string, number>
}

/** What happened in a run: the source of its summary and of its verdict. */
export class Journal {
  /** Honest requests, logins and queries by kind. */
  readonly honest = new Map<string, { count: number; slowestMs: number }>()
  readonly failures: string[] = []
  /** Failures of requests, by kind and code. */
  readonly errors = new Map<string, number>()
  readonly attacks = new Map<string, AttackRecord>()
  /** An application's own connections that tried again, as a pool does, by SQLSTATE. */
  readonly retries = new Map<string, number>()
  /** Names of the attacks that are on. */
  readonly #on: string[] = []
  #onSince = 0
  #onMs = 0

  /** How long at least one attack was on, in milliseconds. */
  get underAttackMs(): number {
    return this.#onMs + (this.#on.length > 0 ? Date.now() - this.#onSince : 0)
  }

  /** Times a step of an honest tenant. A failure is written down with the attacks that were on. */
  async honestly<T>(kind: string, boundMs: number, work: () => Promise<T>): Promise<T | undefined> {
    const began = Date.now()
    const during = [...this.#on]
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => late.reject(new Error(`not ended within ${boundMs} ms`)), boundMs)
    const running = work()
    running.catch(() => undefined)
    try {
      return await Promise.race([running, late.promise])
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error)
      const on = [...new Set([...during, ...this.#on])]
      count(this.errors, `${kind}: ${kindOf(error)}`)
      this.fail(`${kind} after ${Date.now() - began} ms: ${text} [during: ${on.join(' | ') || 'no attack'}]`)
      return undefined
    } finally {
      clearTimeout(timer)
      const known = this.honest.get(kind) ?? { count: 0, slowestMs: 0 }
      this.honest.set(kind, { count: known.count + 1, slowestMs: Math.max(known.slowestMs, Date.now() - began) })
    }
  }

  fail(text: string): void {
    console.log(`failure: ${text}`)
    this.failures.push(text)
  }

  retry(code: string): void {
    count(this.retries, code)
  }

  /** It is prepared, and its sessions start. */
  attackStarts(name: string): void {
    if (this.#on.length === 0) this.#onSince = Date.now()
    this.#on.push(name)
    this.#record(name).started += 1
  }

  /** It has taken effect. */
  attackBegins(name: string): void {
    this.#record(name).begun += 1
  }

  renewed(name: string): void {
    this.#record(name).renewed += 1
  }

  /** Its preparations were ended or refused. */
  attackRefused(name: string, error: unknown): void {
    console.log(`${name} was not prepared: ${error instanceof Error ? error.message : String(error)}`)
  }

  attackEnds(name: string, outcome: Record<string, number>): void {
    this.#on.splice(this.#on.indexOf(name), 1)
    if (this.#on.length === 0) this.#onMs += Date.now() - this.#onSince
    const { ends } = this.#record(name)
    for (const [end, times] of Object.entries(outcome)) count(ends, end, times)
  }

  /** Whether the attack has not taken effect, and was tried fewer times than this. */
  misses(name: string, tries: number): boolean {
    const { started = 0, begun = 0 } = this.attacks.get(name) ?? {}
    return begun === 0 && started < tries
  }

  /** Why the run fails; empty when it passes. A run in which nothing happened shows nothing. */
  verdict(planned: readonly string[] = []): string[] {
    const problems = [...this.failures]
    if (this.attacks.size === 0) problems.push('There was no attack.')
    for (const name of new Set([...planned, ...this.attacks.keys()])) {
      const { started = 0, begun = 0 } = this.attacks.get(name) ?? {}
      if (begun === 0) problems.push(`The attack never took effect, after ${started} starts: ${name}`)
    }
    if (this.honest.size === 0) problems.push('There was no honest request.')
    return problems
  }

  #record(name: string): AttackRecord {
    const known = this.attacks.get(name) ?? { started: 0, begun: 0, renewed: 0, ends: new Map<string, number>() }
    this.attacks.set(name, known)
    return known
  }
}

function count(counts: Map<string, number>, key: string, times = 1): void {
  counts.set(key, (counts.get(key) ?? 0) + times)
}

/** The status of an answer, the SQLSTATE, or the class of the error. */
function kindOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if ('code' in error && typeof error.code === 'string') return error.code
  if ('status' in error && typeof error.status === 'number') return String(error.status)
  return error.name === 'Error' ? error.message : error.name
}
