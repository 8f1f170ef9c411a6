import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import swagger from '@fastify/swagger'
import { Validator } from '@seriousme/openapi-schema-validator'
import Fastify from 'fastify'
import { parse } from 'yaml'
import { openServiceBroker } from '../../src/app.ts'
import { buildApp, headers, testCatalog } from '../helper/app.ts'

// biome-ignore lint/suspicious/noExplicitAny: documents are read at every depth
type Any = any

const fixture = join(import.meta.dirname, '../fixtures/osb-openapi.yaml')
const shared = join(import.meta.dirname, '../../../shared/spec/openapi.yaml')
const theirs: Any = parse(readFileSync(fixture, 'utf8'))

/**
 * Where the specification decides against its own OpenAPI document. A rotation needs no more than its predecessor
 * ("Rotating a Service Binding"); our document says that with `anyOf`.
 */
const differences = [
  'PUT /v2/service_instances/{instance_id}/service_bindings/{binding_id}: body requires plan_id',
  'PUT /v2/service_instances/{instance_id}/service_bindings/{binding_id}: body requires service_id'
]

test('GET /docs/json: an OpenAPI 3.1 document that a validator accepts, without authentication', async (t) => {
  const app = await buildApp(t)
  const reply = await app.inject('/docs/json')
  assert.equal(reply.statusCode, 200)
  assert.equal(reply.json().openapi, '3.1.0')
  const { valid, errors } = await new Validator().validate(reply.json())
  assert.deepEqual([valid, errors], [true, undefined])
  assert.deepEqual(parse((await app.inject('/docs/yaml')).payload), reply.json())
})

test("GET /docs/json: every path, method, status, parameter and required field of the specification's document", async (t) => {
  const app = await buildApp(t)
  const ours = (await app.inject('/docs/json')).json()
  assert.deepEqual(lackingIn(ours, theirs).sort(), differences)
})

test('GET /docs/json: the comparison sees what is missing', async (t) => {
  const app = await buildApp(t)
  const ours = (await app.inject('/docs/json')).json()
  const path = '/v2/service_instances/{instance_id}'
  ours.paths[path].put.responses['201'] = undefined
  ours.paths[path].delete.parameters = []
  ours.components.schemas.LastOperation.required = []
  delete ours.paths['/v2/catalog']
  const lacking = lackingIn(ours, theirs)
  for (const expected of [
    `PUT ${path}: status 201`,
    `DELETE ${path}: parameter service_id in query`,
    `GET ${path}/last_operation: 200 requires state`,
    'GET /v2/catalog'
  ]) {
    assert.ok(lacking.includes(expected), `${expected} in ${lacking.join('\n')}`)
  }
})

test("the copy of the specification's document is that of the specification", (t) => {
  if (!existsSync(shared)) return t.skip('the specification is not beside this checkout')
  assert.equal(readFileSync(fixture, 'utf8'), readFileSync(shared, 'utf8'))
})

test('GET /docs/json: names schemas and operations, and holds nothing of the catalog', async (t) => {
  const app = await buildApp(t)
  const { payload } = await app.inject('/docs/json')
  const document: Any = JSON.parse(payload)
  const put = document.paths['/v2/service_instances/{instance_id}'].put
  assert.deepEqual(put.requestBody.content['application/json'].schema, {
    $ref: '#/components/schemas/ProvisionRequest'
  })
  assert.equal(put.operationId, 'serviceInstance.provision')
  assert.deepEqual(document.security, [{ basicAuth: [] }])
  assert.deepEqual(document.paths['/healthz'].get.security, [])
  assert.ok(Object.keys(document.paths).every((path) => !path.startsWith('/docs')))
  assert.doesNotMatch(payload, /Default Response|plan-sync|p4ss/)
  const ids = Object.values<Any>(document.paths).flatMap((item) =>
    Object.values<Any>(item).map((each) => each.operationId)
  )
  assert.equal(new Set(ids).size, ids.length)
  assert.ok(ids.every((id) => typeof id === 'string'))
})

test('GET /docs: a viewer that asks no other host for anything', async (t) => {
  const app = await buildApp(t)
  const reply = await app.inject('/docs/')
  assert.equal(reply.statusCode, 200)
  assert.match(reply.payload, /<title>Swagger UI<\/title>/)
  assert.doesNotMatch(reply.payload, /(?:src|href)="(?:https?:)?\/\//)
  const policy = String(reply.headers['content-security-policy'])
  assert.match(policy, /default-src 'self'/)
  assert.doesNotMatch(policy, /https:|swagger\.io|upgrade-insecure/)
  assert.equal((await app.inject('/docs/static/swagger-ui-bundle.js')).statusCode, 200)
})

test('GET …/docs: two brokers under two prefixes each have their own, and the host has none', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  for (const prefix of ['/a', '/b'])
    await app.register(openServiceBroker, { prefix, catalog: testCatalog(), auth: false })
  app.get('/own', async () => 'own')
  for (const prefix of ['/a', '/b']) {
    const document = (await app.inject(`${prefix}/docs/json`)).json()
    assert.deepEqual(document.servers, [{ url: prefix }])
    assert.ok('/v2/catalog' in document.paths)
    assert.equal((await app.inject(`${prefix}/docs/`)).statusCode, 200)
  }
  assert.equal(app.hasDecorator('swagger'), false)
  assert.equal((await app.inject('/docs')).statusCode, 404)
})

test("GET /documentation: a host with a document of its own has the broker's routes in it", async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  await app.register(swagger, { openapi: { info: { title: 'Host', version: '1' } } })
  await app.register(openServiceBroker, { prefix: '/osb', catalog: testCatalog(), auth: false })
  await app.ready()
  assert.ok('/osb/v2/catalog' in (app.swagger() as Any).paths)
  assert.equal((await app.inject('/osb/docs')).statusCode, 404)
  const reply = await app.inject({ url: '/osb/v2/catalog', headers })
  assert.equal(reply.statusCode, 200)
})

/** What of the one document the other does not have. */
function lackingIn(ours: Any, wanted: Any): string[] {
  return Object.entries<Any>(wanted.paths).flatMap(([path, item]) =>
    Object.entries<Any>(item).flatMap(([method, operation]) => {
      const name = `${method.toUpperCase()} ${path}`
      const own = ours.paths[path]?.[method]
      return own === undefined ? [name] : lackingOperation(name, { own, operation }, [ours, wanted])
    })
  )
}

function lackingOperation(name: string, { own, operation }: Any, [ours, wanted]: [Any, Any]): string[] {
  const parameters = (operation.parameters ?? []).map((each: Any) => resolved(wanted, each))
  const has = (parameter: Any) =>
    own.parameters.some(
      (each: Any) =>
        each.in === parameter.in &&
        each.name.toLowerCase() === parameter.name.toLowerCase() &&
        (parameter.required !== true || each.required === true)
    )
  const missing = parameters.filter((each: Any) => !has(each))
  const body = (each: Any) => each?.content?.['application/json']?.schema
  const statuses = Object.keys(operation.responses)
  return [
    ...missing.map((each: Any) => `${name}: parameter ${each.name} in ${each.in}`),
    ...lackingFields(`${name}: body`, [body(own.requestBody), body(operation.requestBody)], [ours, wanted]),
    ...statuses.flatMap((status) => {
      if (own.responses[status] === undefined) return [`${name}: status ${status}`]
      const pair: [Any, Any] = [body(own.responses[status]), body(operation.responses[status])]
      return lackingFields(`${name}: ${status}`, pair, [ours, wanted])
    })
  ]
}

/** Fields that theirs requires, at every depth. */
function lackingFields(where: string, [own, theirs]: [Any, Any], [ours, wanted]: [Any, Any], depth = 0): string[] {
  if (theirs === undefined || depth > 8) return []
  const [a, b] = [resolved(ours, own) ?? {}, resolved(wanted, theirs)]
  const required = (b.required ?? []).filter((field: string) => !(a.required ?? []).includes(field))
  const deeper = Object.keys(b.properties ?? {}).flatMap((field) =>
    a.properties?.[field] === undefined
      ? []
      : lackingFields(`${where}.${field}`, [a.properties[field], b.properties[field]], [ours, wanted], depth + 1)
  )
  const items = b.items === undefined ? [] : lackingFields(`${where}[]`, [a.items, b.items], [ours, wanted], depth + 1)
  return [...required.map((field: string) => `${where} requires ${field}`), ...deeper, ...items]
}

function resolved(document: Any, value: Any): Any {
  if (typeof value?.$ref !== 'string') return value
  return value.$ref
    .slice(2)
    .split('/')
    .reduce((at: Any, key: string) => at?.[key], document)
}
