import type { TSchema } from '@sinclair/typebox'
import type { Mode, ServiceOffering, ServicePlan } from '../../schemas/catalog.ts'
import type { JsonObject } from '../../schemas/common.ts'
import type { BindingReply } from '../../schemas/service-binding.ts'
import type { InstanceReply } from '../../schemas/service-instance.ts'
import { BrokerError } from './errors.ts'
import type {
  DescribeTask,
  Description,
  Finding,
  Inventory,
  RepairTask,
  StandingBinding,
  WatchRound
} from './provider-upkeep.ts'
import type { StartContext } from './start-context.ts'

export type * from './provider-upkeep.ts'
export type { StartContext } from './start-context.ts'

/**
 * What an author implements: five small functions that make, change and remove the outside resources of one kind of
 * service. Everything else of the Open Service Broker API is the framework's.
 *
 * Each function is **repeatable**: after a crash or a failed attempt it is called again with the same ids and the
 * `state` saved last, and must converge on the same outcome. Choose the names of outside resources and keep them
 * with `task.saveState` before the first outside effect; then whatever happens, the next attempt and the delete know
 * what to look for.
 *
 * Throw {@link Rejected} to end the operation with an answer for the user. Throw {@link Unavailable} to have it
 * tried again with a description the user may read. Anything else is tried again too, and only logged.
 */
export interface ServiceProvider {
  /** As `x-broker.provider` of a service offering names it. */
  readonly name: string
  /** Schema of a plan's `x-broker.options`, checked when the catalog loads. */
  readonly options: TSchema
  /**
   * Checks what a schema cannot express, such as an option that must not exceed another. The catalog calls it with options that
   * match the schema and have its defaults, and reports each fault as an error.
   */
  optionFaults?(options: JsonObject): readonly OptionFault[]
  /** Mode of the plans that name none. */
  readonly mode: Mode
  /**
   * The address of the instance's dashboard, from what is known before it is made: an asynchronous provision or update has
   * to answer it at once (spec: Provisioning, `dashboard_url`). A `dashboard_url` in the result replaces it, too late for
   * platforms that do not fetch instances.
   */
  dashboardUrl?(instance: DashboardRequest): string | undefined
  /** Makes the instance. */
  provision(task: InstanceTask): Promise<Provisioned>
  /** Brings the instance to `task.plan` and `task.parameters`. Without it every update is refused with 422. */
  update?(task: UpdateTask): Promise<Provisioned>
  /** Removes the instance; succeeds when there is nothing (left) to remove. Its bindings have been unbound before. */
  deprovision(task: RemovalTask): Promise<void>
  /** Makes credentials. Needed when the offering is bindable. */
  bind?(task: BindTask): Promise<Bound>
  /** Revokes credentials; succeeds when there is nothing (left) to revoke. */
  unbind?(task: UnbindTask): Promise<void>
  /** Opens connections; called before the first task, and again if it threw {@link Unavailable}. See {@link StartContext}. */
  start?(context?: StartContext): Promise<void>
  /** Closes connections; called once, after the last task. */
  stop?(): Promise<void>
  /** Throws when the provider cannot work at the moment. */
  health?(): Promise<void>
  /** Lets the reconciler compare what is outside with what the broker believes. */
  readonly inventory?: Inventory
  /**
   * Looks over all instances, about every minute on one of the replicas: for what must not wait, such as a quota that is used
   * up. It runs beside operations; before it changes an instance it keeps them out and reads it anew with `refresh`.
   */
  watch?(round: WatchRound): Promise<void>
  /**
   * Compares an instance with what was agreed, about every hour on one of the replicas and when an operator asks, and heals what
   * differs where `heal` is set. It runs beside operations, as {@link ServiceProvider.watch} does.
   */
  repair?(task: RepairTask): Promise<readonly Finding[]>
  /** What the instance uses of what it may use; for its owner. */
  describe?(task: DescribeTask): Promise<Description>
  /**
   * Labels of the instance that change without an operation, such as one of a quota that is used up. A fetch of the instance
   * asks for them and adds them to the `labels` of its `metadata` (spec: Service Instance Metadata). An answer that takes longer
   * than a second, or an error, is left out.
   */
  labels?(task: DescribeTask): Promise<Readonly<Record<string, string>>>
}

/** A fault of a plan's options. */
export interface OptionFault {
  /** Name of the option. */
  readonly option: string
  /** What is wrong with its value, as the end of a sentence about it: "must be at least 10". */
  readonly message: string
}

/** What every function is given. */
export interface Task {
  readonly operationId: string
  readonly instanceId: string
  /** Name of the platform that asked. */
  readonly platform: string
  /** Contextual data as the platform sent it last. */
  readonly context: JsonObject
  /** Who asked, where the platform says so (spec: Originating Identity). */
  readonly originatingIdentity: OriginatingIdentity | undefined
  /** What the last {@link Task.saveState} of this resource, or the result of its last operation, kept. */
  readonly state: JsonObject | undefined
  /** Counts the tries of this operation, from 1. */
  readonly attempt: number
  /** Aborts when the work must stop: it was halted by a delete, taken over, ran out of time, or the process ends. */
  readonly signal: AbortSignal
  readonly log: TaskLog
  /**
   * Keeps what the next attempt and the delete must know. It is encrypted at rest.
   * @throws {StaleAttempt} when another worker has taken over; let it pass
   */
  saveState(state: JsonObject): Promise<void>
  /** Tells the user how far the work is: the `description` of last_operation. */
  progress(text: string): Promise<void>
  /**
   * Takes a secret out of all that this attempt logs and tells from now on, what it throws included. Passwords, tokens and
   * keys in the saved state and in returned credentials are known already; one that was just made is not.
   */
  conceal(secret: string): void
}

/** A task about an instance that exists in the catalog. */
export interface InstanceTask extends Task {
  readonly service: ServiceOffering
  readonly plan: ServicePlan
  /** The plan's `x-broker.options`, checked against the provider's schema. */
  readonly options: JsonObject
  readonly parameters: JsonObject
}

/** What is known of an instance when a provision or an update of it is accepted. */
export type DashboardRequest = Pick<
  InstanceTask,
  'instanceId' | 'platform' | 'context' | 'service' | 'plan' | 'options' | 'parameters'
>

/** An update: `plan`, `options` and `parameters` are what is asked for; `parameters` has the earlier ones merged in. */
export interface UpdateTask extends InstanceTask {
  readonly previous: {
    /** Absent when the catalog no longer has it. */
    readonly plan: ServicePlan | undefined
    readonly options: JsonObject
    readonly parameters: JsonObject
  }
  /** Reads the bindings of the instance. No operation on them is unfinished when the update starts. */
  bindings(): Promise<readonly StandingBinding[]>
}

/** A delete never depends on the catalog: offering and plan may be gone from it. */
export interface RemovalTask extends Task {
  readonly service: ServiceOffering | undefined
  readonly plan: ServicePlan | undefined
  readonly options: JsonObject
  readonly parameters: JsonObject
}

/** The instance that a binding task is about. */
export interface TaskInstance {
  readonly state: JsonObject | undefined
  readonly parameters: JsonObject
}

/** A bind; `state` and `parameters` are the binding's own. */
export interface BindTask extends InstanceTask {
  readonly bindingId: string
  readonly instance: TaskInstance
  readonly appGuid: string | undefined
  readonly route: string | undefined
  /** The binding that this one succeeds (spec: Binding Rotation). Both stay valid. */
  readonly predecessor: { readonly bindingId: string; readonly state: JsonObject | undefined } | undefined
  /** Whether the plan wants `endpoints` in the answer (`x-broker.endpoints`). */
  readonly endpoints: boolean
  /**
   * Whether credentials may be kept (`x-broker.keep_credentials`). Where not, they must not be in the state either: a later
   * attempt of the bind may make new ones, because those of an earlier attempt were answered to nobody.
   */
  readonly keepCredentials: boolean
}

/** An unbind; `state` is the binding's own. */
export interface UnbindTask extends RemovalTask {
  readonly bindingId: string
  readonly instance: TaskInstance
}

/** The part of a result that no platform sees in the answer itself. */
export interface ResultExtras {
  /** Replaces the saved state when present. */
  state?: JsonObject
  /**
   * What the user has to know although the operation succeeded, such as a quota that is used up: the `description` of
   * last_operation. The specification has no field for it in the answer to a synchronous request.
   */
  description?: string
}

/** Result of a provision or an update. */
export interface Provisioned extends InstanceReply, ResultExtras {}

/** Result of a bind. */
export interface Bound extends BindingReply, ResultExtras {}

/** spec: Originating Identity. */
export interface OriginatingIdentity {
  readonly platform: string
  readonly value: JsonObject
}

/** The part of a pino logger that tasks get; every line carries the operation's ids. */
export interface TaskLog {
  debug(fields: object, message?: string): void
  info(fields: object, message?: string): void
  warn(fields: object, message?: string): void
  error(fields: object, message?: string): void
}

/**
 * Ends the operation: it failed and no further try is made. `status` is the answer of a synchronous request (400 for
 * bad parameters; 422 on updates alone: on provision and bind an unknown 422 starts orphan mitigation).
 */
export class Rejected extends BrokerError {}

/** The attempt failed for a passing reason that the user may read; the operation is tried again while its time lasts. */
export class Unavailable extends Error {
  override readonly name = 'Unavailable'
}

/** The connection to the store was lost at a COMMIT: nobody knows whether the write was committed. */
export class OutcomeUnknown extends Unavailable {}

/** This worker has lost the operation to another attempt: whatever it still writes is refused. */
export class StaleAttempt extends Error {
  override readonly name = 'StaleAttempt'

  constructor(operationId: string) {
    super(`Operation ${operationId} is no longer this worker's: it was halted, finished or taken over.`)
  }
}
