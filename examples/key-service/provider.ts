import { randomBytes, randomUUID } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
// In a project of yours: from 'fastify-open-service-broker'
import { Rejected, type ServiceProvider, Unavailable } from '../../src/index.ts'

/** Where the key service is, and how to get in. */
export interface KeyServiceSettings {
  /** `https://keys.internal` */
  readonly url: string
  /** Of its administrator. */
  readonly token: string
  /** Sends the requests; default: the global `fetch`. */
  readonly fetch?: typeof fetch
}

const PlanOptions = Type.Object(
  { max_keys: Type.Integer({ minimum: 1, default: 10, description: 'keys that may live at once' }) },
  { additionalProperties: false }
)
const InstanceState = Type.Object({ space: Type.String() })
const BindingState = Type.Object({ space: Type.String(), id: Type.String(), key: Type.String() })
type BindingState = Static<typeof BindingState>

/** Sells the keys of an HTTP service: an instance is a space of its own, a binding is a key to that space. */
export function keyServiceProvider(settings: KeyServiceSettings): ServiceProvider {
  const call = caller(settings)
  return {
    name: 'key-service',
    options: PlanOptions,
    mode: 'either',

    async provision(task) {
      // Chosen and kept before anything is made: whatever comes between, the next attempt finds the same space.
      const state = task.state ?? { space: `space-${randomUUID()}` }
      await task.saveState(state)
      await call('PUT', pathOf(parsed(InstanceState, state)), task.signal, optionsOf(task.options))
      return {}
    },

    async update(task) {
      await call('PUT', pathOf(parsed(InstanceState, task.state)), task.signal, optionsOf(task.options))
      return {}
    },

    async deprovision(task) {
      // No state, nothing made.
      if (task.state === undefined) return
      await call('DELETE', pathOf(parsed(InstanceState, task.state)), task.signal)
    },

    async bind(task) {
      const { space } = parsed(InstanceState, task.instance.state)
      const fresh: BindingState = { space, id: randomUUID(), key: randomBytes(32).toString('base64url') }
      const state = task.state === undefined ? fresh : parsed(BindingState, task.state)
      await task.saveState(state)
      await call('PUT', pathOf(state), task.signal, { key: state.key })
      return { credentials: { uri: `${settings.url}/whoami`, key: state.key } }
    },

    async unbind(task) {
      if (task.state !== undefined) await call('DELETE', pathOf(parsed(BindingState, task.state)), task.signal)
    },

    async health() {
      await call('GET', '/spaces', AbortSignal.timeout(2_000))
    }
  }
}

type Method = 'GET' | 'PUT' | 'DELETE'

/** Sends one request. What the user can mend is `Rejected`; anything else is `Unavailable`, and is tried again. */
function caller({ url, token, fetch: send = fetch }: KeyServiceSettings) {
  return async (method: Method, path: string, signal: AbortSignal, body?: object): Promise<void> => {
    const answer = await send(url + path, {
      method,
      signal,
      headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) })
    })
    await answer.body?.cancel()
    if (answer.status === 409) throw new Rejected(400, 'The plan allows no more keys: remove a binding first.')
    const isGone = method === 'DELETE' && answer.status === 404
    if (!answer.ok && !isGone) throw new Unavailable(`The key service answered ${answer.status}.`)
  }
}

function pathOf(state: { space: string; id?: string }): string {
  const space = `/spaces/${encodeURIComponent(state.space)}`
  return state.id === undefined ? space : `${space}/keys/${encodeURIComponent(state.id)}`
}

function optionsOf(options: unknown): Static<typeof PlanOptions> {
  return parsed(PlanOptions, options)
}

function parsed<Schema extends typeof PlanOptions | typeof InstanceState | typeof BindingState>(
  schema: Schema,
  value: unknown
): Static<Schema> {
  if (Value.Check(schema, value)) return value
  throw new Error('What was kept is not of this provider.')
}
