import {
  durations,
  errorType,
  inSpan,
  meter,
  SECONDS_OF_CALLS,
  SECONDS_OF_OPERATIONS,
  secondsSince
} from '../telemetry/index.ts'
import type { AttemptEnd } from './attempt.ts'
import type { ServiceProvider } from './provider.ts'
import type { OperationFields, OperationKind } from './store.ts'

/** A function of a provider that does the work of an operation. */
export type ProviderFunction = keyof ServiceProvider & OperationKind

/** Counts operations, their attempts, and what providers take; measures nothing where no SDK is registered. */
export class OperationMeters {
  readonly #ended = meter().createCounter('osb.operations.ended', {
    description: 'Operations that have ended, by kind and by how',
    unit: '{operation}'
  })
  readonly #attempts = meter().createCounter('osb.operation.attempts', {
    description: 'Attempts at operations that have ended; a repeated one is not the first of its operation',
    unit: '{attempt}'
  })
  readonly #durations = durations(
    'osb.operation.duration',
    'From the request to the end of its operation',
    SECONDS_OF_OPERATIONS
  )
  readonly #calls = durations('osb.provider.duration', 'What a function of a provider took', SECONDS_OF_CALLS)

  /** @param held `createdAt` in terms of `performance.now()` */
  ended(
    { operation, createdAt }: { operation: OperationFields; createdAt: number },
    state: 'succeeded' | 'failed'
  ): void {
    const { kind, internal } = operation
    const labels = { 'osb.operation.kind': kind, 'osb.operation.state': state, 'osb.operation.internal': internal }
    this.#ended.add(1, labels)
    this.#durations.record(Math.max(0, secondsSince(createdAt)), labels)
  }

  /** A delete has ended an unfinished create or update. */
  halted({ kind, internal }: Pick<OperationFields, 'kind' | 'internal'>): void {
    this.#ended.add(1, {
      'osb.operation.kind': kind,
      'osb.operation.state': 'halted',
      'osb.operation.internal': internal
    })
  }

  attempted({ kind }: OperationFields, attempt: number, outcome: AttemptEnd['kind']): void {
    this.#attempts.add(1, {
      'osb.operation.kind': kind,
      'osb.attempt.outcome': outcome,
      'osb.attempt.repeated': attempt > 1
    })
  }

  /** Calls a function of a provider, in a span of its own. */
  async call<T>(provider: string, name: ProviderFunction, work: () => Promise<T>): Promise<T> {
    const labels = { 'osb.provider': provider, 'osb.provider.function': name }
    const began = performance.now()
    let failure: { 'error.type'?: string } = {}
    try {
      return await inSpan(`${provider} ${name}`, labels, work)
    } catch (error) {
      failure = { 'error.type': errorType(error) }
      throw error
    } finally {
      this.#calls.record(secondsSince(began), { ...labels, ...failure })
    }
  }
}
