import { setTimeout as sleep } from 'node:timers/promises'
import type { Transport, WireReply, WireRequest } from '../../../src/client/transport.ts'
import {
  answers,
  type Fault,
  identityOf,
  objectOf,
  requests,
  type Seen,
  seen,
  sent,
  swallows,
  withQuery
} from './faults.ts'

const creates = ['provision', 'bind'] as const
const deletes = ['deprovision', 'unbind'] as const
const mutations = [...creates, ...deletes, 'update'] as const

/** What a broker can get wrong in what it does, keeps and forgets. */
export const behaviourMutants: Readonly<Record<string, Fault>> = {
  'replay: another operation on each answer': answers(mutations, ({ status, json }, { url }) =>
    status === 202
      ? { text: JSON.stringify({ ...json, operation: `${json.operation}-${counted(url.pathname)}` }) }
      : undefined
  ),
  'replay: 200 while it runs': remembering((memory, request, reply) => {
    const first = !memory.has(request.url.pathname)
    memory.set(request.url.pathname, '')
    return request.endpoint === 'provision' && reply.status === 202 && !first ? { status: 200, text: '{}' } : undefined
  }),
  'replay: the second delete is 200': remembering((memory, request, reply) => {
    if (request.method !== 'DELETE') return undefined
    if (reply.status === 202) memory.set(request.url.pathname, '')
    return reply.status === 410 && memory.has(request.url.pathname) ? { status: 200, text: '{}' } : undefined
  }),
  'context counts as an attribute': remembering((memory, request, reply) => {
    if (!creates.some((endpoint) => endpoint === request.endpoint)) return undefined
    const context = JSON.stringify(request.json.context ?? {})
    const before = memory.get(request.url.pathname)
    if (reply.status < 300 && before === undefined) memory.set(request.url.pathname, context)
    return before !== undefined && before !== context
      ? { status: 409, text: '{"description":"other attributes"}' }
      : undefined
  }),
  'provision: conflicts are taken for the same': sameAsFirst('provision'),
  'bind: conflicts are taken for the same': sameAsFirst('bind'),
  'AsyncRequired: 202 without accepts_incomplete': requests(mutations, (request) =>
    withQuery(request, (query) => query.set('accepts_incomplete', 'true'))
  ),
  'accepts_incomplete=false taken for true': requests(mutations, (request) =>
    request.url.searchParams.get('accepts_incomplete') === 'false'
      ? withQuery(request, (query) => query.set('accepts_incomplete', 'true'))
      : undefined
  ),
  'maintenance_info: ignored': sent(['provision', 'update'], ({ maintenance_info: _, ...json }) => json),
  'parameters: not checked': sent([...creates, 'update'], ({ parameters: _, ...json }) => json),
  'parameters: lost on the way': answers(['fetch-instance'], ({ status, json }) =>
    status === 200 && json.parameters !== undefined
      ? { text: JSON.stringify({ ...json, parameters: { size: 99 } }) }
      : undefined
  ),
  'plan: an unknown one is another': sent(creates, (json) =>
    typeof json.plan_id === 'string' && !json.plan_id.startsWith('mutants-')
      ? { ...json, plan_id: 'mutants-small' }
      : json
  ),
  'plan: one of another offering is taken': sent(['provision'], (json) =>
    json.plan_id === 'mutants-only' ? { ...json, plan_id: 'mutants-small' } : json
  ),
  'service_id: missing is filled in': sent(creates, (json) => ({ service_id: 'mutants-service', ...json })),
  'organization_guid: missing is filled in': sent(['provision'], (json) => ({ organization_guid: 'o', ...json })),
  'delete: missing ids are filled in': requests(deletes, (request) =>
    withQuery(request, (query) => {
      if (!query.get('service_id')) query.set('service_id', 'mutants-service')
      if (!query.get('plan_id')) query.set('plan_id', 'mutants-small')
    })
  ),
  'update: the plan stays': swallows(['update'], ({ json }) =>
    json.plan_id === 'mutants-large' ? { status: 200, json: {} } : undefined
  ),
  'update: without a plan it becomes another': sent(['update'], (json) => ({ plan_id: 'mutants-large', ...json })),
  'update: unknown plans are ignored': sent(['update'], ({ plan_id: plan, ...json }) =>
    typeof plan === 'string' && plan.startsWith('mutants-') && plan !== 'mutants-only'
      ? { plan_id: plan, ...json }
      : json
  ),
  'update: refused, and done all the same': (sound) => async (request, signal) => {
    const reply = await sound(request, signal)
    const asked = seen(request)
    if (asked.endpoint === 'update' && reply.status === 400) {
      await sound({
        ...request,
        ...withQuery(asked, (query) => query.delete('accepts_incomplete')),
        body: JSON.stringify({ service_id: 'mutants-service', plan_id: 'mutants-large' })
      })
    }
    return reply
  },
  'provision: refused, and made all the same': (sound) => async (request, signal) => {
    const reply = await sound(request, signal)
    if (seen(request).endpoint === 'provision' && reply.status === 400) {
      await sound({ ...request, headers: { ...request.headers, 'content-type': 'application/json' }, body: PROVISION })
    }
    return reply
  },
  'deprovision: said, not done': swallows(['deprovision'], ({ url }) =>
    url.searchParams.get('service_id') && url.searchParams.get('plan_id') && counted(`DELETE ${url.pathname}`) === 1
      ? { status: 200, json: {} }
      : undefined
  ),
  'unbind: said, not done': swallows(['unbind'], ({ url }) =>
    url.searchParams.get('service_id') && url.searchParams.get('plan_id') && counted(`DELETE ${url.pathname}`) === 1
      ? { status: 200, json: {} }
      : undefined
  ),
  'credentials: the same for every binding': answers(['bind', 'fetch-binding'], ({ status, json }) =>
    status < 202 && json.credentials !== undefined
      ? { text: JSON.stringify({ ...json, credentials: { password: 'shared' } }) }
      : undefined
  ),
  'rotation: the predecessor ends': (sound) => async (request, signal) => {
    const reply = await sound(request, signal)
    const asked = seen(request)
    const { predecessor_binding_id: predecessor } = asked.json
    if (asked.endpoint === 'bind' && typeof predecessor === 'string' && reply.status < 300) {
      await settled(sound, request, asked)
      const path = asked.url.pathname.replace(/[^/]+$/, encodeURIComponent(predecessor))
      await sound({
        method: 'DELETE',
        headers: request.headers,
        path: `${path}?service_id=mutants-service&plan_id=mutants-small`
      })
    }
    return reply
  },
  'rotation: any predecessor will do': sent(['bind'], ({ predecessor_binding_id: _, ...json }) => ({
    service_id: 'mutants-service',
    plan_id: 'mutants-small',
    ...json
  })),
  'rotation: the parameters are forgotten': answers(['fetch-binding'], ({ status, json }) =>
    status === 200 && json.parameters !== undefined
      ? { text: JSON.stringify({ ...json, parameters: { note: 'other' } }) }
      : undefined
  ),
  'ids: case does not count': requests(
    [...mutations, 'fetch-instance', 'poll-instance', 'fetch-binding', 'poll-binding'],
    ({ path }) => {
      const [before = '', query] = path.split('?')
      return { path: before.toLowerCase() + (query === undefined ? '' : `?${query}`) }
    }
  ),
  'last_operation: forgotten after the first end': remembering((memory, request, reply) => {
    if (request.endpoint !== 'poll-instance' && request.endpoint !== 'poll-binding') return undefined
    const key = request.url.pathname + request.url.search
    if (memory.has(key)) return { status: 404, text: '{"description":"forgotten"}' }
    if (objectOf(reply.text).state !== 'in progress' && request.url.searchParams.has('operation')) memory.set(key, '')
    return undefined
  }),
  'last_operation: never ends': answers(['poll-instance'], ({ status, json }) =>
    status === 200 ? { text: JSON.stringify({ ...json, state: 'in progress' }) } : undefined
  ),
  'last_operation: of nothing is 200': swallows(['poll-instance', 'poll-binding'], ({ url }) =>
    url.searchParams.has('operation') ? undefined : { status: 200, json: { state: 'succeeded' } }
  ),
  'fetch: 200 while the instance is being made': remembering((memory, request, reply) => {
    if (request.endpoint === 'provision' && reply.status === 202) memory.set(request.url.pathname, '')
    if (request.method === 'DELETE') memory.delete(request.url.pathname)
    return request.endpoint === 'fetch-instance' && reply.status === 404 && memory.has(request.url.pathname)
      ? { status: 200, text: '{}' }
      : undefined
  }),
  'delete during a create: the create goes on': remembering(
    (memory, request, reply) => {
      if (request.endpoint === 'provision' && reply.status === 202) memory.set(request.url.pathname, '')
      if (request.endpoint === 'poll-instance' && objectOf(reply.text).state !== 'in progress')
        memory.delete(request.url.pathname)
      return undefined
    },
    (memory, request) =>
      request.endpoint === 'deprovision' && memory.delete(request.url.pathname)
        ? { status: 200, text: '{}' }
        : undefined
  ),
  'concurrency: two at once are both told they made it': remembering((memory, request, reply) => {
    if (request.endpoint !== 'provision') return undefined
    const seenBefore = memory.has(request.url.pathname)
    memory.set(request.url.pathname, '')
    return seenBefore && (reply.status === 202 || reply.status === 409) ? { status: 201, text: '{}' } : undefined
  }),
  'the same id once more is refused for ever': remembering((memory, request, reply) => {
    if (request.endpoint === 'deprovision' && reply.status < 300) memory.set(request.url.pathname, '')
    return request.endpoint === 'provision' && memory.has(request.url.pathname)
      ? { status: 409, text: '{"description":"used up"}' }
      : undefined
  })
}

const PROVISION = JSON.stringify({
  service_id: 'mutants-service',
  plan_id: 'mutants-small',
  organization_guid: 'o',
  space_guid: 's'
})

type Memory = Map<string, string>
type Change = Partial<WireReply> | undefined

/** A fault that depends on what came before. `before` may answer in the sound broker's place. */
function remembering(
  change: (memory: Memory, request: Seen, reply: WireReply) => Change,
  before: (memory: Memory, request: Seen) => Change = () => undefined
): Fault {
  return (sound) => {
    const memory: Memory = new Map()
    return async (request, signal) => {
      const asked = seen(request)
      const own = before(memory, asked)
      if (own !== undefined) return { status: 200, headers: identityOf(request), text: '{}', ...own }
      const reply = await sound(request, signal)
      return { ...reply, ...change(memory, asked, reply) }
    }
  }
}

/** Takes every further body for the first that was sent to the path. */
function sameAsFirst(endpoint: 'provision' | 'bind'): Fault {
  return (sound) => {
    const bodies = new Map<string, WireRequest['body']>()
    return (request, signal) => {
      const asked = seen(request)
      if (asked.endpoint !== endpoint || Object.keys(asked.json).length < 2) return sound(request, signal)
      const first = bodies.get(asked.url.pathname) ?? request.body
      bodies.set(asked.url.pathname, first)
      return sound({ ...request, body: first }, signal)
    }
  }
}

async function settled(sound: Transport, request: WireRequest, { url }: Seen): Promise<void> {
  for (let tries = 0; tries < 100; tries += 1) {
    const { status, text } = await sound({
      method: 'GET',
      headers: request.headers,
      path: `${url.pathname}/last_operation`
    })
    if (status !== 200 || objectOf(text).state !== 'in progress') return
    await sleep(20)
  }
}

/** A fault that always struck would also keep the run from removing what it made. */
const counts = new Map<string, number>()

function counted(path: string): number {
  const count = (counts.get(path) ?? 0) + 1
  counts.set(path, count)
  return count
}
