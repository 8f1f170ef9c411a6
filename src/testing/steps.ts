import { StaleAttempt } from '../core/provider.ts'

/** Where an attempt is interrupted: at its nth step, before or after the step has done what it does. */
export interface Interruption {
  readonly step: number
  readonly when: 'before' | 'after'
  /** `crash`: this step and all after it throw, as if the process were gone. `abort`: the task's signal aborts. */
  readonly how: 'crash' | 'abort'
}

/**
 * Counts the steps of an attempt: what it awaits of its task (`saveState`, `progress`) and each call of a {@link wrap}ped
 * object. Between two steps nothing outside can change, so interrupting at every one tries every crash there is.
 */
export class Steps {
  readonly controller = new AbortController()
  readonly #interruption: Interruption | undefined
  #count = 0
  #crashed = false

  constructor(interruption?: Interruption) {
    this.#interruption = interruption
  }

  /** How many steps there have been. */
  get count(): number {
    return this.#count
  }

  /** Whether the attempt came as far as its interruption. */
  get interrupted(): boolean {
    return this.#crashed || this.controller.signal.aborted
  }

  async take<Result>(act: () => Result | Promise<Result>): Promise<Result> {
    this.#count += 1
    const step = this.#count
    this.#interrupt(step, 'before')
    const result = await act()
    this.#interrupt(step, 'after')
    return result
  }

  #interrupt(step: number, when: Interruption['when']): void {
    if (this.#interruption?.step === step && this.#interruption.when === when) {
      if (this.#interruption.how === 'abort') this.controller.abort(new Error('the contract suite aborts the attempt'))
      else this.#crashed = true
    }
    if (this.#crashed) throw new StaleAttempt('of the contract suite, which has crashed the attempt')
  }
}

/** The steps of the attempt that runs; there is one at a time. */
let current = new Steps()

/** Makes the steps those of wrapped objects. */
export function runWith(steps: Steps): Steps {
  current = steps
  return steps
}

/**
 * Makes each call of the object's methods a step at which the suite can interrupt. Wrap what a provider does its work with, a
 * database client or the functions of an API, and crashes are tried before and after each effect. The methods must be
 * asynchronous, and awaited.
 * @example
 * testProvider(test, { provider: myProvider({ api: wrap(api) }) })
 */
export function wrap<Target extends object>(target: Target): Target {
  return new Proxy(target, {
    get(object, name, receiver) {
      const value: unknown = Reflect.get(object, name, receiver)
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => current.take(() => value.apply(object, args))
    }
  })
}
