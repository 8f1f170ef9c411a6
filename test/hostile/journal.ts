/** What happened in a run: the source of its summary and of its verdict. */
export class Journal {
  /** Honest requests, logins and queries by kind. */
  readonly honest = new Map<string, { count: number; slowestMs: number }>()
  readonly failures: string[] = []
  /** Attacks by name: how often, and what ended their sessions. */
  readonly attacks = new Map<string, { times: number; ends: Map<string, number> }>()
  /** An application's own connections that tried again, as a pool does, by SQLSTATE. */
  readonly retries = new Map<string, number>()
  /** Names of the attacks that are on. */
  readonly #on: string[] = []

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
    this.retries.set(code, (this.retries.get(code) ?? 0) + 1)
  }

  attackBegins(name: string): void {
    this.#on.push(name)
  }

  /** Its preparations were ended or refused. */
  attackRefused(name: string, error: unknown): void {
    console.log(`${name} was not prepared: ${error instanceof Error ? error.message : String(error)}`)
  }

  attackEnds(name: string, outcome: Record<string, number>): void {
    this.#on.splice(this.#on.indexOf(name), 1)
    const known = this.attacks.get(name) ?? { times: 0, ends: new Map<string, number>() }
    for (const [end, count] of Object.entries(outcome)) known.ends.set(end, (known.ends.get(end) ?? 0) + count)
    this.attacks.set(name, { ...known, times: known.times + 1 })
  }

  /** Why the run fails; empty when it passes. A run in which nothing happened shows nothing. */
  verdict(): string[] {
    const problems = [...this.failures]
    if (this.attacks.size === 0) problems.push('There was no attack.')
    if (
      ![...this.attacks.values()].some(({ ends }) => (ends.get('completed') ?? 0) > 0 || (ends.get('57P01') ?? 0) > 0)
    ) {
      problems.push('No attack took effect.')
    }
    if (this.honest.size === 0) problems.push('There was no honest request.')
    return problems
  }
}
