import type { WireReply } from './transport.ts'

/** The broker cannot be reached, or does not answer in time. The message is for people, and holds no credentials. */
export class BrokerUnreachable extends Error {
  override readonly name = 'BrokerUnreachable'
}

/** The broker answered something that the specification does not know. */
export class UnexpectedAnswer extends Error {
  override readonly name = 'UnexpectedAnswer'
  readonly status: number

  constructor(request: string, { status, text }: Pick<WireReply, 'status' | 'text'>, why: string) {
    super(`${request} was answered ${status}, ${why}: ${text.slice(0, SHOWN_CHARACTERS).toWellFormed()}`)
    this.status = status
  }
}

const SHOWN_CHARACTERS = 300

/** What a refusal says beside its status (spec: Service Broker Errors). */
export interface OsbErrorDetails {
  readonly status: number
  /** The specification's code, such as `AsyncRequired`. */
  readonly error?: string | undefined
  readonly instanceUsable?: boolean | undefined
  readonly updateRepeatable?: boolean | undefined
  readonly retryAfterMs?: number | undefined
}

/** The broker refused: a status of 400 or more. `message` is its description. */
export class OsbError extends Error {
  override readonly name = 'OsbError'
  readonly details: OsbErrorDetails

  constructor(description: string, details: OsbErrorDetails) {
    super(description)
    this.details = details
  }

  get status(): number {
    return this.details.status
  }
}

/** An operation ended `failed`. `message` is the description of last_operation. */
export class OperationFailed extends Error {
  override readonly name = 'OperationFailed'
  readonly instanceUsable: boolean | undefined
  readonly updateRepeatable: boolean | undefined

  constructor(description: string, flags: { instance_usable?: boolean; update_repeatable?: boolean }) {
    super(description)
    this.instanceUsable = flags.instance_usable
    this.updateRepeatable = flags.update_repeatable
  }
}

/** The operation has not ended within the time that the caller, or the plan, gives it. It may still end. */
export class OperationTimeout extends Error {
  override readonly name = 'OperationTimeout'
}
