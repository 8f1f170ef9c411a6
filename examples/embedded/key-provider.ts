import { randomBytes, randomUUID } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
// In an application of yours: from 'fastify-open-service-broker'
import { Rejected, type ServiceProvider } from '../../src/index.ts'
import type { Keyring } from './keyring.ts'

const PlanOptions = Type.Object({ max_keys: Type.Integer({ minimum: 1, default: 2 }) }, { additionalProperties: false })
const InstanceState = Type.Object({ space: Type.String() })
const BindingState = Type.Object({ space: Type.String(), keyId: Type.String(), key: Type.String() })
type BindingState = Static<typeof BindingState>

/** An instance is a space, a binding is a key to it. */
export function keyProvider(keyring: Keyring, baseUrl: string): ServiceProvider {
  return {
    name: 'keys',
    options: PlanOptions,
    mode: 'sync',

    async provision(task) {
      // A second attempt finds the name that the first has chosen.
      const state = task.state ?? { space: `space-${randomUUID()}` }
      await task.saveState(state)
      keyring.putSpace(spaceOf(state), limitOf(task.options))
      return {}
    },

    async update(task) {
      keyring.putSpace(spaceOf(task.state), limitOf(task.options))
      return {}
    },

    async deprovision(task) {
      // Without a state nothing was made.
      if (task.state !== undefined) keyring.removeSpace(spaceOf(task.state))
    },

    async bind(task) {
      const state = task.state === undefined ? newBindingState(spaceOf(task.instance.state)) : bindingState(task.state)
      if (!keyring.hasRoom(state)) throw new Rejected(400, `This plan allows ${limitOf(task.options)} keys.`)
      await task.saveState(state)
      keyring.putKey(state, state.key)
      return { credentials: { uri: `${baseUrl}/whoami`, key: state.key } }
    },

    async unbind(task) {
      if (task.state !== undefined) keyring.removeKey(bindingState(task.state))
    }
  }
}

function newBindingState(space: string): BindingState {
  return { space, keyId: randomUUID(), key: randomBytes(32).toString('base64url') }
}

function limitOf(options: unknown): number {
  if (!Value.Check(PlanOptions, options)) throw new Error('The options are not of this provider.')
  return options.max_keys
}

function spaceOf(state: unknown): string {
  if (!Value.Check(InstanceState, state)) throw new Error('The state is not of this provider.')
  return state.space
}

function bindingState(state: unknown): BindingState {
  if (!Value.Check(BindingState, state)) throw new Error('The state is not of this provider.')
  return state
}
