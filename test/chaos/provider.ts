import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Type } from '@sinclair/typebox'
import type { JsonObject } from '../../schemas/common.ts'
import { Rejected, type ServiceProvider, type Task } from '../../src/core/provider.ts'
import type { CallRecorder } from './calls.ts'
import type { Outside } from './outside.ts'
import { obeys, type Step, stepOf, type Verb } from './script.ts'

/** What the functions of the provider have in common of their tasks. */
type AnyTask = Task & { readonly parameters: JsonObject; readonly bindingId?: string }

const MEET_MS = 15_000

/**
 * A provider that does what the parameters of an instance or a binding say, call by call: it works, fails, hangs, or
 * ignores its signal and acts later. What it makes are rows of a real table.
 */
export function scriptedProvider(outside: Outside, calls: CallRecorder): ServiceProvider {
  const meeting = new Meeting()

  /** Plays the step of this attempt, then calls `effect`. */
  async function play(
    verb: Verb,
    task: AnyTask,
    state: JsonObject,
    effect: (since: string, fenced: boolean) => Promise<void>
  ): Promise<void> {
    const step = stepOf(task.parameters, verb, task.attempt)
    const { operationId: operation, instanceId: instance, bindingId: binding, attempt } = task
    const call = calls.begin({
      verb,
      act: step.act,
      operation,
      attempt,
      instance,
      ...(binding === undefined ? {} : { binding })
    })
    const onAbort = () => calls.abort(call)
    task.signal.addEventListener('abort', onAbort)
    try {
      await wait(step, task, meeting)
      const fenced = step.act !== 'deaf'
      // An attempt that has lost its operation to another one, or to a delete, must not act outside.
      const check = () => obeys(step) && task.signal.throwIfAborted()
      const since = await outside.now()
      check()
      if (fenced) await task.saveState(state)
      check()
      await effect(since, fenced)
      if (step.act === 'fail') throw new Error('The script has this call fail.')
    } finally {
      task.signal.removeEventListener('abort', onAbort)
      calls.end(call)
    }
  }

  async function nameFor(kind: string, task: AnyTask): Promise<string> {
    const name = nameIn(task.state) ?? `${kind}-${randomUUID()}`
    if (task.state === undefined) await task.saveState({ name })
    return name
  }

  return {
    name: 'scripted',
    options: Type.Object({}, { additionalProperties: false }),
    mode: 'either',
    async provision(task) {
      const { instanceId } = task
      const name = await nameFor('instance', task)
      await play('provision', task, { name }, (since, fenced) =>
        outside.make({ name, instanceId, bindingId: null, planId: task.plan.id, fenced }, since)
      )
      return {}
    },
    async update(task) {
      const name = nameIn(task.state) ?? ''
      await play('update', task, { name }, (since) => outside.change(name, task.plan.id, since))
      return {}
    },
    async deprovision(task) {
      const name = nameIn(task.state)
      if (name === undefined) return
      await play('deprovision', task, { name }, (since) => outside.remove(name, since))
    },
    async bind(task) {
      const { instanceId, bindingId } = task
      const name = await nameFor('binding', task)
      await play('bind', task, { name }, (since, fenced) =>
        outside.make({ name, instanceId, bindingId, planId: task.plan.id, fenced }, since)
      )
      return { credentials: { name } }
    },
    async unbind(task) {
      const name = nameIn(task.state)
      if (name === undefined) return
      await play('unbind', task, { name }, (since) => outside.remove(name, since))
    },
    stop: () => outside.close(),
    inventory: {
      list: () => outside.names(),
      namesOf: (_kind, state) => [nameIn(state)].filter((name) => name !== undefined)
    }
  }
}

function nameIn(state: JsonObject | undefined): string | undefined {
  return typeof state?.name === 'string' ? state.name : undefined
}

async function wait({ act, ms = 0, count = 1 }: Step, { signal }: Task, meeting: Meeting): Promise<void> {
  signal.throwIfAborted()
  if (act === 'refuse') throw new Rejected(400, 'The script refuses this call.')
  if (act === 'hang') await new Promise<never>(() => undefined)
  if (act === 'meet') await meeting.join(count, signal)
  if (act === 'late' || act === 'deaf') await sleep(ms)
  if (act === 'work') await sleep(ms, undefined, { signal })
  if (act === 'obey') await aborted(signal)
}

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
  })
}

/** Lets calls wait for each other: all of them are inside at once, or none gets on. */
class Meeting {
  #inside = 0
  #complete = Promise.withResolvers<void>()

  async join(count: number, signal: AbortSignal): Promise<void> {
    this.#inside += 1
    const { promise, resolve } = this.#complete
    try {
      if (this.#inside >= count) resolve()
      const alone = sleep(MEET_MS, 'alone' as const, { signal, ref: false })
      if ((await Promise.race([promise, alone])) === 'alone') {
        throw new Rejected(500, `Only ${this.#inside} calls were inside at once.`)
      }
    } finally {
      this.#inside -= 1
      if (this.#inside === 0) this.#complete = Promise.withResolvers<void>()
    }
  }
}
