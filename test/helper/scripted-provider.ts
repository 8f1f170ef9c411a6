import { Type } from '@sinclair/typebox'
import type { JsonObject } from '../../schemas/common.ts'
import type {
  BindTask,
  InstanceTask,
  RemovalTask,
  ServiceProvider,
  Task,
  UnbindTask,
  UpdateTask
} from '../../src/core/provider.ts'

/** What a scripted verb is given: the union of all tasks is of no use to a test, the common part is. */
export type AnyTask = InstanceTask | UpdateTask | RemovalTask | BindTask | UnbindTask

export type Verb = 'provision' | 'update' | 'deprovision' | 'bind' | 'unbind'

export type Script = Partial<Record<Verb, (task: AnyTask) => Promise<unknown>>>

/** A provider that does what a test says, and notes what it was asked. Verbs without a script succeed. */
export class ScriptedProvider implements ServiceProvider {
  readonly name = 'example'
  readonly options = Type.Object({}, { additionalProperties: true })
  readonly mode = 'sync'
  /** `provision`, `bind b-1`, … in the order of the calls. */
  readonly calls: string[] = []
  readonly tasks: AnyTask[] = []
  readonly #script: Script

  constructor(script: Script = {}) {
    this.#script = script
  }

  provision = async (task: InstanceTask) => objectOf(await this.#run('provision', task))
  update = async (task: UpdateTask) => objectOf(await this.#run('update', task))
  deprovision = async (task: RemovalTask) => {
    await this.#run('deprovision', task)
  }
  bind = async (task: BindTask) => {
    const bound = objectOf(await this.#run('bind', task))
    return Object.keys(bound).length === 0 ? { credentials: { token: task.bindingId } } : bound
  }
  unbind = async (task: UnbindTask) => {
    await this.#run('unbind', task)
  }

  async #run(verb: Verb, task: AnyTask): Promise<unknown> {
    this.calls.push('bindingId' in task ? `${verb} ${task.bindingId}` : verb)
    this.tasks.push(task)
    return this.#script[verb]?.(task)
  }
}

function objectOf(value: unknown): JsonObject {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

/** Resolves when the task is aborted, as a well-behaved provider does, with the abort's reason thrown. */
export function untilAborted({ signal }: Task): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

/** Something a test opens when it wants work to go on. */
export function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** Waits until the condition holds, looking often; fails after `ms` milliseconds, default 15 s, with what was waited for. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, ms = 15_000): Promise<void> {
  for (const end = performance.now() + ms; !(await condition()); ) {
    if (performance.now() > end) throw new Error(`waited ${ms / 1000} s in vain: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
