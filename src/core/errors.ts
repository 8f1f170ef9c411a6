import type { ErrorBody } from '../../schemas/errors.ts'

/** What an error answer says beside its status. */
export interface BrokerErrorDetails {
  /** The specification's error code, where it names one (spec: Error Codes). */
  error?: string
  /** Of a failed update or deprovision: can the instance still be used? */
  instanceUsable?: boolean
  /** Of a failed update: may the same update succeed later? */
  updateRepeatable?: boolean
  /** Whole seconds for `Retry-After`. */
  retryAfterSeconds?: number
  cause?: unknown
}

/**
 * An answer other than success (spec: Service Broker Errors). The only error that carries a status: anything else
 * that is thrown is logged and answered as a bare 500.
 */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly status: number
  readonly details: BrokerErrorDetails

  constructor(status: number, description: string, details: BrokerErrorDetails = {}) {
    super(description, details.cause === undefined ? undefined : { cause: details.cause })
    this.status = status
    this.details = details
  }

  /** The body as it goes over the wire. */
  toBody(): ErrorBody {
    const { error, instanceUsable, updateRepeatable } = this.details
    return {
      ...(error === undefined ? {} : { error }),
      description: boundedDescription(this.message),
      ...(instanceUsable === undefined ? {} : { instance_usable: instanceUsable }),
      ...(updateRepeatable === undefined ? {} : { update_repeatable: updateRepeatable })
    }
  }
}

/**
 * The error without the flags that do not belong to its operation: `instance_usable` is for updates and deprovisions,
 * `update_repeatable` for updates (spec: Service Broker Errors).
 */
export function errorOf(kind: string, error: BrokerError): BrokerError {
  const { instanceUsable, updateRepeatable, ...details } = error.details
  const usable = kind === 'update' || kind === 'deprovision' ? instanceUsable : undefined
  const repeatable = kind === 'update' ? updateRepeatable : undefined
  if (usable === instanceUsable && repeatable === updateRepeatable) return error
  return new BrokerError(error.status, error.message, {
    ...details,
    ...(usable === undefined ? {} : { instanceUsable: usable }),
    cause: error
  })
}

/** Platforms take descriptions of less than 8 kB; a character has at most three bytes for each of these. */
const MAX_DESCRIPTION = 2_000

/** A description as platforms take it: ids in it may be as long as a request. */
export function boundedDescription(text: string): string {
  return text.length <= MAX_DESCRIPTION ? text : `${text.slice(0, MAX_DESCRIPTION - 1).toWellFormed()}…`
}

/**
 * The table of refusals. The three fixed descriptions are to the letter what the Go client recognises the errors
 * by; changing one breaks Kubernetes platforms.
 */
export const refusals = {
  malformed: (description: string) => new BrokerError(400, description),
  invalidParameters: (description: string) => new BrokerError(400, description),
  unauthorized: () => new BrokerError(401, 'The credentials are missing or wrong.'),
  instanceUnknown: (id: string) => new BrokerError(404, `There is no service instance "${id}".`),
  bindingUnknown: (id: string) => new BrokerError(404, `There is no service binding "${id}".`),
  notRetrievable: (what: string) => new BrokerError(404, `This service offering does not let its ${what} be fetched.`),
  operationUnknown: () => new BrokerError(404, 'There is no operation on this resource.'),
  routeUnknown: (method: string, path: string) => new BrokerError(404, `There is no ${method} ${path}.`),
  methodNotAllowed: (method: string, path: string) => new BrokerError(405, `There is no ${method} ${path}.`),
  instanceGone: () => new BrokerError(410, 'The service instance does not exist.'),
  bindingGone: () => new BrokerError(410, 'The service binding does not exist.'),
  operationGone: () => new BrokerError(410, 'The resource was deleted.'),
  versionUnsupported: (description: string, status: 400 | 412 = 412) => new BrokerError(status, description),
  instanceConflict: (id: string) =>
    new BrokerError(409, `A service instance "${id}" exists already, with other attributes.`),
  bindingConflict: (id: string) =>
    new BrokerError(409, `A service binding "${id}" exists already, with other attributes.`),
  asyncRequired: () =>
    new BrokerError(422, 'This service plan requires client support for asynchronous service operations.', {
      error: 'AsyncRequired'
    }),
  concurrency: () =>
    new BrokerError(422, 'The Service Broker does not support concurrent requests that mutate the same resource.', {
      error: 'ConcurrencyError'
    }),
  requiresApp: () =>
    new BrokerError(422, 'This service supports generation of credentials through binding an application only.', {
      error: 'RequiresApp'
    }),
  maintenanceInfoConflict: () =>
    new BrokerError(422, 'The maintenance information for the requested service plan has changed.', {
      error: 'MaintenanceInfoConflict'
    }),
  unsupportedChange: (description: string) =>
    new BrokerError(422, description, { instanceUsable: true, updateRepeatable: false }),
  /** Not 422 on a provision: platforms would take the create for one that may have happened, and send a delete. */
  quotaUsedUp: (kind: string, plan: string, instances: number) => {
    const text = quotaText(plan, instances)
    if (kind !== 'update') return new BrokerError(400, text)
    return new BrokerError(422, text, { instanceUsable: true, updateRepeatable: true })
  },
  internal: () => new BrokerError(500, 'The broker failed. The cause is in its log.'),
  tooManyFailures: (retryAfterSeconds: number) =>
    new BrokerError(429, 'Too many logins have failed. Try again later.', { retryAfterSeconds }),
  unavailable: (description: string, retryAfterSeconds = 5, cause?: unknown) =>
    new BrokerError(503, description, { retryAfterSeconds, cause }),
  deadline: (seconds: number) =>
    new BrokerError(504, `The work did not end within ${seconds} s. It is being undone.`, { retryAfterSeconds: 5 }),
  /** Of a delete, which continues in the background even if the platform cannot poll. */
  stillDeleting: (seconds: number) =>
    new BrokerError(
      504,
      `The deletion did not end within ${seconds} s. It continues; repeat the request to see its end.`,
      {
        retryAfterSeconds: 5
      }
    )
}

function quotaText(plan: string, instances: number): string {
  if (instances === 0) {
    return `This platform may have no service instances of the plan "${plan}". Ask the operator of the broker for some.`
  }
  const held = instances === 1 ? '1 service instance' : `${instances} service instances`
  return (
    `The quota of the plan "${plan}" is used up: this platform may have ${held} of it at once. ` +
    'Delete one, or ask the operator of the broker for more.'
  )
}
