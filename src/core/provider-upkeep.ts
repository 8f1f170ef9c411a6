import type { JsonObject } from '../../schemas/common.ts'
import type { ServiceProvider, TaskLog } from './provider.ts'

/* The types of the functions of a provider that no operation calls. */

/** An instance that was made to the end, with its bindings. */
export interface StandingInstance {
  readonly instanceId: string
  /** The `x-broker.options` of its plan, as the catalog has them now. */
  readonly options: JsonObject
  readonly parameters: JsonObject
  readonly state: JsonObject
  readonly bindings: readonly StandingBinding[]
}

/** A binding of a {@link StandingInstance}. */
export interface StandingBinding {
  readonly bindingId: string
  readonly parameters: JsonObject
  readonly state: JsonObject
  /** It was made to the end, has not expired, and no operation on it is unfinished. */
  readonly settled: boolean
}

/** What {@link ServiceProvider.watch} and {@link ServiceProvider.repair} have to look after instances with. */
export interface Upkeep {
  /** The instance as it is now; undefined when it is gone, or an operation on it is unfinished. */
  refresh(instanceId: string): Promise<StandingInstance | undefined>
  /** Aborts when the process ends. */
  readonly signal: AbortSignal
  readonly log: TaskLog
}

/** One round of {@link ServiceProvider.watch}. */
export interface WatchRound extends Upkeep {
  /** The instances of the provider whose plan is in the catalog. */
  instances(choice?: WatchChoice): AsyncIterable<StandingInstance>
}

/** Which instances a round has to look at: what it leaves out is neither read nor decrypted. */
export interface WatchChoice {
  /** Whether instances of plans with these options are wanted. Default: those of all plans. */
  readonly where?: (options: JsonObject) => boolean
  /** Whether {@link StandingInstance.bindings} is filled. Default: `true`. */
  readonly bindings?: boolean
}

/** What {@link ServiceProvider.repair} is given. */
export interface RepairTask extends Upkeep {
  readonly instance: StandingInstance
  /** Whether to change anything. */
  readonly heal: boolean
}

/** Something about an instance that is not as it was agreed. */
export interface Finding {
  /** The provider's name of it, as in its inventory. */
  readonly resource: string
  /** What is different, without secrets: "its password was changed". */
  readonly finding: string
  readonly healed: boolean
}

/** What {@link ServiceProvider.describe} is given. */
export interface DescribeTask extends Pick<StandingInstance, 'instanceId' | 'options' | 'parameters' | 'state'> {
  readonly signal: AbortSignal
  readonly log: TaskLog
}

/** What an instance uses of what it may use. */
export interface Description {
  readonly measures: readonly Measure[]
  /** What the owner has to know at once, such as a quota that is used up. */
  readonly notice?: string
}

/** One figure of a {@link Description}. */
export interface Measure {
  /** `storage`, `connections`, … */
  readonly name: string
  readonly unit: 'bytes' | 'count'
  readonly used: number
  /** Absent where there is none. */
  readonly limit?: number
}

/** What of a provider's making is outside, by names that mean something to an operator. */
export interface Inventory {
  /** All there is, whatever asked for it. */
  list(): Promise<readonly string[]>
  /** The names that go with the saved state of an instance or a binding. */
  namesOf(kind: 'instance' | 'binding', state: JsonObject): readonly string[]
}
