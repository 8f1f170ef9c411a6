import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../schemas/common.ts'
import { Rejected, type ServiceProvider, type Task } from '../core/provider.ts'

const Verb = Type.Union([
  Type.Literal('provision'),
  Type.Literal('update'),
  Type.Literal('deprovision'),
  Type.Literal('bind'),
  Type.Literal('unbind')
])
type Verb = Static<typeof Verb>

/** Options of a plan of the example provider. */
export const ExampleOptions = Type.Object(
  {
    delay_ms: Type.Optional(Type.Integer({ minimum: 0, description: 'how long each verb takes' })),
    fail_on: Type.Optional(Type.Array(Verb, { description: 'the verbs that fail' }))
  },
  { additionalProperties: false }
)
export type ExampleOptions = Static<typeof ExampleOptions>

/** Settings of {@link exampleProvider}. */
export interface ExampleProviderOptions {
  /** Delay of every verb whose plan sets none, in milliseconds; above 0 it makes `either` the default mode. */
  readonly delayMs?: number
}

/**
 * The reference broker: it keeps nothing outside and returns made-up credentials, unique to each binding. For trying
 * platforms, for tests, and as the shortest example of a provider.
 */
export function exampleProvider({ delayMs = 0 }: ExampleProviderOptions = {}): ServiceProvider {
  const act = async (verb: Verb, task: Task & { options: JsonObject }) => {
    const options = optionsOf(task.options)
    const delay = options.delay_ms ?? delayMs
    if (delay > 0) await task.progress(`Working for ${delay} ms.`)
    if (delay > 0) await sleep(delay, undefined, { signal: task.signal })
    if (options.fail_on?.includes(verb)) throw new Rejected(500, `This plan fails on ${verb}.`)
  }
  return {
    name: 'example',
    options: ExampleOptions,
    mode: delayMs > 0 ? 'either' : 'sync',
    async provision(task) {
      await act('provision', task)
      return {}
    },
    async update(task) {
      await act('update', task)
      return {}
    },
    async deprovision(task) {
      await act('deprovision', task)
    },
    async bind(task) {
      await act('bind', task)
      const username = `user-${randomBytes(6).toString('hex')}`
      const password = randomBytes(24).toString('base64url')
      const database = `db-${task.instanceId}`
      const uri = `postgresql://${username}:${password}@example.invalid:5432/${encodeURIComponent(database)}`
      return {
        credentials: { uri, username, password, host: 'example.invalid', port: 5432, database },
        ...(task.endpoints ? { endpoints: [{ host: 'example.invalid', ports: ['5432'] }] } : {})
      }
    },
    async unbind(task) {
      await act('unbind', task)
    }
  }
}

/** Checked when the catalog loads; a delete may come with the options of a plan that is gone. */
function optionsOf(options: JsonObject): ExampleOptions {
  return Value.Check(ExampleOptions, options) ? options : {}
}
