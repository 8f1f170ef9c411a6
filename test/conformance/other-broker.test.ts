import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import { type TestContext, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { httpTransport, runConformance } from '../../src/conformance/index.ts'

/**
 * A broker of another make, as small as the specification lets one be. It does whatever the specification leaves to the broker
 * in another way than ours: no operations are named, nothing can be fetched, credentials are given once, a running operation
 * makes every other request wait its turn, absent fields are null, and errors have no code where none is demanded.
 */
function otherBroker(slow: boolean) {
  const catalog = {
    services: [
      {
        id: 'o-1',
        name: 'other',
        description: 'Of another make',
        bindable: true,
        plans: [
          { id: 'p-1', name: 'one', description: 'One' },
          { id: 'p-2', name: 'two', description: 'Two' }
        ]
      }
    ]
  }
  interface Item {
    body: Record<string, unknown>
    busyUntil: number
    kind: 'create' | 'delete'
    bindings: Map<string, { body: Record<string, unknown>; credentials: object }>
  }
  const items = new Map<string, Item>()
  const answer = (status: number, body: object = {}) => ({ status, body })
  const attributes = ({
    service_id,
    plan_id,
    parameters,
    organization_guid,
    space_guid,
    bind_resource
  }: Record<string, unknown>) => ({
    service_id,
    plan_id,
    organization_guid,
    space_guid,
    bind_resource,
    parameters: parameters ?? {}
  })
  const concurrency = () => answer(422, { error: 'ConcurrencyError', description: 'Wait.' })
  const isText = (value: unknown) => typeof value === 'string' && value !== ''
  const isObject = (value: unknown) =>
    value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value))

  const badBody = (body: Record<string, unknown>, texts: string[]) => {
    const plan = catalog.services[0]?.plans.some(({ id }) => id === body.plan_id)
    const objects = ['parameters', 'context', 'maintenance_info', 'bind_resource'].every((name) => isObject(body[name]))
    return !texts.every((name) => isText(body[name])) || body.service_id !== 'o-1' || !plan || !objects
  }

  return (request: { method: string; path: string; query: URLSearchParams; body: unknown }) => {
    const { method, path, query } = request
    const parts = path.split('/').slice(3).map(decodeURIComponent)
    if (path === '/v2/catalog') return answer(200, catalog)
    const [id = '', , bindingId] = parts
    const item = items.get(id)
    const busy = item !== undefined && item.busyUntil > Date.now()
    const accepts = query.get('accepts_incomplete') === 'true'
    if (item?.kind === 'delete' && !busy) items.delete(id)
    const there = items.get(id)
    if (path.endsWith('/last_operation')) {
      if (there === undefined || (bindingId !== undefined && bindingId !== 'last_operation')) return answer(404)
      return answer(200, { state: busy ? 'in progress' : 'succeeded' })
    }
    if (method === 'GET') return answer(404, { description: 'Nothing can be fetched here.' })
    const body = request.body as Record<string, unknown> | undefined
    if (method !== 'DELETE' && !(isObject(body) && body !== undefined))
      return answer(400, { description: 'No object.' })
    if (bindingId === undefined) {
      if (method === 'PUT') {
        if (badBody(body ?? {}, ['service_id', 'plan_id', 'organization_guid', 'space_guid'])) return answer(400)
        if ((body?.maintenance_info as { version?: string } | undefined)?.version !== undefined) {
          return answer(422, { error: 'MaintenanceInfoConflict' })
        }
        if (there !== undefined && !isDeepStrictEqual(attributes(there.body), attributes(body ?? {})))
          return answer(409)
        if (there?.kind === 'delete') return concurrency()
        if (there !== undefined) return busy ? answer(202, { operation: null }) : answer(200, { dashboard_url: null })
        if (slow && !accepts) return answer(422, { error: 'AsyncRequired' })
        items.set(id, { body: body ?? {}, kind: 'create', busyUntil: slow ? Date.now() + 60 : 0, bindings: new Map() })
        return slow ? answer(202) : answer(201, { dashboard_url: null, vendor: 'field' })
      }
      if (method === 'PATCH') {
        if (there === undefined) return answer(404)
        const merged = { ...there.body, ...body, plan_id: body?.plan_id ?? there.body.plan_id }
        if (!isText(body?.service_id) || badBody(merged, ['service_id', 'plan_id'])) return answer(400)
        if (busy) return concurrency()
        return body?.plan_id === undefined || body.plan_id === there.body.plan_id ? answer(200) : answer(422)
      }
      if (!query.get('service_id') || !query.get('plan_id')) return answer(400)
      if (there === undefined) return answer(410)
      if (query.get('service_id') !== 'o-1') return answer(400)
      if (there.kind === 'delete') return answer(202)
      if (busy) return concurrency()
      if (slow && !accepts) return answer(422, { error: 'AsyncRequired' })
      if (!slow) items.delete(id)
      else Object.assign(there, { kind: 'delete', busyUntil: Date.now() + 60 })
      return slow ? answer(202) : answer(200)
    }
    const binding = there?.bindings.get(bindingId)
    if (method === 'PUT') {
      if (badBody(body ?? {}, ['service_id', 'plan_id'])) return answer(400)
      if (there === undefined) return answer(404)
      if (there.body.plan_id !== body?.plan_id) return answer(400)
      if (busy) return concurrency()
      if (binding !== undefined) {
        return isDeepStrictEqual(attributes(binding.body), attributes(body ?? {}))
          ? answer(200, { credentials: binding.credentials })
          : answer(409)
      }
      const credentials = { password: randomUUID() }
      there.bindings.set(bindingId, { body: body ?? {}, credentials })
      return answer(201, { credentials, syslog_drain_url: null })
    }
    if (binding === undefined) return answer(410)
    if (!query.get('service_id') || !query.get('plan_id') || query.get('service_id') !== 'o-1') return answer(400)
    there?.bindings.delete(bindingId)
    return answer(200)
  }
}

for (const slow of [false, true]) {
  test(`conformance: a small broker of another make has no MUST failed, ${slow ? 'async' : 'sync'}`, async (t) => {
    const url = await serve(t, slow)
    const { results, conforms } = await runConformance({ transport: httpTransport({ url }), pollTimeoutMs: 5_000 })
    const failed = results.filter(({ status }) => status === 'failed')
    assert.deepEqual(
      failed.filter(({ level }) => level === 'MUST').map(({ id, detail }) => `${id}: ${detail}`),
      []
    )
    assert.equal(conforms, true)
    // What it knowingly leaves out is told as a SHOULD, and nothing else is.
    assert.deepEqual(failed.map(({ id }) => id).sort(), [
      'answers/no-null',
      'answers/request-identity',
      'api-version/missing-is-refused',
      'api-version/other-major-is-refused',
      ...(slow ? ['poll-instance/deleted-is-told'] : [])
    ])
    assert.ok(results.filter(({ status }) => status === 'passed').length > 80)
  })
}

async function serve(t: TestContext, slow: boolean): Promise<string> {
  const broker = otherBroker(slow)
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://broker')
      const text = Buffer.concat(chunks).toString()
      let body: unknown
      try {
        body = text === '' ? undefined : JSON.parse(text)
      } catch {
        body = undefined
      }
      const known = request.headers['content-type']?.startsWith('application/json') ?? true
      const asked = { method: request.method ?? '', path: url.pathname, query: url.searchParams, body }
      const answer = known ? broker(asked) : { status: 400, body: {} }
      response.writeHead(answer.status, { 'content-type': 'application/json' }).end(JSON.stringify(answer.body))
    })
  })
  t.after(() => server.close())
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return `http://127.0.0.1:${address.port}`
}
