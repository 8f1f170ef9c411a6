import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import type { JsonObject } from '../../schemas/common.ts'
import { scramVerifier } from '../../src/providers/postgresql/scram.ts'
import { openOtlpReceiver } from '../helper/otlp-receiver.ts'
import { OwnServer } from '../providers/postgresql/own-server.ts'
import { type Answer, end, platformOf, query, scene, temporaryFolder, until } from './broker-process.ts'
import { commandLines, dumpOf, formsOf, leaksIn } from './leaks.ts'

/** The server writes down all that it is told. */
const TALKATIVE = {
  log_statement: 'all',
  log_min_duration_statement: '0',
  log_parameter_max_length: '-1',
  log_parameter_max_length_on_error: '-1',
  log_min_error_statement: 'info',
  log_connections: 'on'
}

const service = { service_id: 'walk' }
const plans = ['kept', 'once', 'later', 'failing'] as const

function catalog(): string {
  const plan = (name: string, broker: object) => ({
    id: name,
    name,
    description: name,
    binding_rotatable: true,
    'x-broker': { mode: 'either', ...broker }
  })
  const offering = { bindable: true, bindings_retrievable: true, plan_updateable: true, description: 'Walked through' }
  return JSON.stringify({
    services: [
      {
        id: 'walk',
        name: 'walk',
        ...offering,
        'x-broker': { provider: 'postgresql' },
        plans: [
          plan('kept', {}),
          plan('once', { keep_credentials: false }),
          plan('later', { mode: 'async', keep_credentials: false })
        ]
      },
      {
        id: 'failing',
        name: 'failing',
        ...offering,
        'x-broker': { provider: 'example' },
        plans: [plan('failing', { options: { fail_on: ['bind'] } })]
      }
    ]
  })
}

/** A random text with characters that are written differently in URLs. */
const newSecret = () => `${randomBytes(9).toString('base64url')}/+ %'@${randomBytes(9).toString('base64url')}`

test('secrets: no password and no key is anywhere but in the answers, after a walk through all verbs', async (t) => {
  const server = new OwnServer(TALKATIVE)
  await server.start()
  const secrets = new Map<string, string | Buffer>()
  const given = (name: string, secret: string | Buffer) => {
    secrets.set(name, secret)
    return secret.toString()
  }
  const planted = `planted-${randomBytes(12).toString('hex')}`
  const admin = new URL(await loginOn(server.adminUrl, 'walk_admin', given('password of the admin', newSecret())))
  const state = new URL(await loginOn(server.adminUrl, 'walk_state', given('password of the state', newSecret())))
  await query(server.adminUrl, 'CREATE DATABASE walk_state')
  state.pathname = '/walk_state'
  const platformPassword = given('password of the platform', newSecret())
  const keys = ['new', 'old'].map((kid) => {
    const bytes = randomBytes(32)
    given(`key ${kid}`, bytes)
    return `${kid}:${bytes.toString('base64')}`
  })
  const receiver = await openOtlpReceiver()
  t.after(() => receiver.close())
  const catalogPath = join(temporaryFolder(t), 'catalog.json')
  writeFileSync(catalogPath, catalog())
  const variables = {
    BROKER_STORAGE: 'postgres',
    BROKER_USERNAME: 'platform',
    BROKER_PASSWORD: platformPassword,
    DATABASE_URL: state.href,
    POSTGRESQL_ADMIN_URL: admin.href,
    BROKER_CATALOG_PATH: catalogPath,
    LOG_LEVEL: 'trace',
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_METRICS_EXPORTER: 'otlp'
  }

  const processes = commandLines()
  t.after(processes.stop)
  const { serve, run } = scene(t)
  const first = await serve({ ...variables, BROKER_ENCRYPTION_KEYS: keys[1] ?? '' })
  await walk(platformOf(first, `platform:${platformPassword}`), given, planted)
  await end(first, 'SIGTERM')
  const environment = { ...variables, BROKER_ENCRYPTION_KEYS: keys.join() }
  const rekeyed = run(['rekey'], environment)
  assert.equal((await rekeyed.ended).code, 0, rekeyed.stderr)
  const audited = run(['postgresql', 'audit', '--repair'], environment)
  assert.equal((await audited.ended).code, 0, audited.stdout + audited.stderr)
  const events = run(['audit', '--json'], environment)
  assert.equal((await events.ended).code, 0, events.stderr)
  const second = await serve(environment)
  const dumpBefore = await dumpOf(urlOnState(server.adminUrl))
  await leave(platformOf(second, `platform:${platformPassword}`))
  await end(second, 'SIGTERM')

  const sleeper = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 60_000)', planted])
  t.after(() => sleeper.kill())
  await until('the planted process is seen', () => processes.seen().includes(planted))
  const programs = [first, second, rekeyed, audited, events]
  const places = {
    'standard output': programs.map(({ stdout }) => stdout).join('\n'),
    'standard error': programs.map(({ stderr }) => stderr).join('\n'),
    'tables while there are bindings': dumpBefore,
    'tables at the end': await dumpOf(urlOnState(server.adminUrl)),
    "the server's log": readFileSync(join(server.dataDir, 'postgres.log'), 'utf8'),
    'command lines': processes.seen(),
    'traces and metrics': receiver.bytes().toString('latin1')
  }
  assert.ok(secrets.size > 12, `${secrets.size} secrets`)
  assert.deepEqual(leaksIn(places, secrets), [])
  // It would have been found: what was sent as the id of an instance is in every place that is told ids.
  const { 'standard error': _quiet, ...telling } = places
  assert.deepEqual(
    leaksIn(telling, new Map([['planted', planted]])).filter((leak) => leak.endsWith('(plain)')),
    Object.keys(telling).map((place) => `${place}: planted (plain)`)
  )
  assert.match(places['tables at the end'], /osb\.audit_events/)
  assert.match(places['tables at the end'], /osb_jobs\./)
  assert.match(places["the server's log"], /SCRAM-SHA-256\$/)
})

test('secrets: a search finds what is hidden in each form, within other text', () => {
  const secret = newSecret()
  const bytes = Buffer.from(secret)
  const within = (coded: (text: Buffer) => string) =>
    ['', 'a', 'ab'].map((before) => coded(Buffer.concat([Buffer.from(before), bytes, Buffer.from('after')])))
  const hidden: [form: string, texts: string[]][] = [
    ['plain', [`x${secret}y`, JSON.stringify({ secret })]],
    ['URL-encoded', [`?p=${encodeURIComponent(secret)}&`, String(new URLSearchParams({ secret }))]],
    ['base64', [...within((text) => text.toString('base64')), ...within((text) => text.toString('base64url'))]],
    ['hex', within((text) => text.toString('hex'))]
  ]
  for (const [form, texts] of hidden) {
    for (const text of texts)
      assert.deepEqual(leaksIn({ place: text }, new Map([['it', secret]])), [`place: it (${form})`])
  }
  const key = randomBytes(32)
  assert.deepEqual(leaksIn({ place: `k:${key.toString('base64')}` }, new Map([['key', key]])), ['place: key (base64)'])
  for (const needle of Object.values(formsOf(secret)).flat()) assert.ok(needle.length >= 12, needle)
})

type Call = (method: string, path: string, body?: object) => Promise<Answer>
const path = (id: string, binding?: string) =>
  `/v2/service_instances/${id}${binding === undefined ? '' : `/service_bindings/${binding}`}`
const idsOf = (plan: string) => ({ ...(plan === 'failing' ? { service_id: 'failing' } : service), plan_id: plan })
const async = '?accepts_incomplete=true'

/** Everything that gives, repeats or refuses credentials; what is given is noted. */
async function walk(call: Call, given: (name: string, secret: string) => unknown, planted: string): Promise<void> {
  const place = { organization_guid: 'org', space_guid: 'space' }
  const note = (name: string, { body }: Answer) => {
    const { credentials }: { credentials?: JsonObject } = body
    assert.ok(credentials !== undefined, `${name} has no credentials`)
    given(`password of ${name}`, String(credentials.password))
  }
  const done = async (resource: string, answer: Answer) => {
    assert.equal(answer.status, 202, JSON.stringify(answer.body))
    const poll = `${resource}/last_operation?operation=${answer.body.operation}`
    return until('the operation ends', async () => {
      const { state } = (await call('GET', poll)).body
      return state !== 'in progress' && state
    })
  }
  const expect = async (status: number, answer: Promise<Answer>) => {
    const { status: was, body } = await answer
    assert.equal(was, status, JSON.stringify(body))
  }
  await expect(201, call('PUT', path(planted), { ...idsOf('kept'), ...place }))
  await expect(404, call('GET', path('unknown'), undefined))
  for (const plan of plans) {
    const made = await call('PUT', `${path(plan)}${async}`, { ...idsOf(plan), ...place })
    assert.equal(await done(path(plan), made), 'succeeded')
  }
  for (const plan of ['kept', 'once'] as const) {
    const bound = await call('PUT', path(plan, 'sync'), idsOf(plan))
    assert.equal(bound.status, 201)
    note(`${plan}, synchronous`, bound)
    await expect(200, call('PUT', path(plan, 'sync'), idsOf(plan)))
    await expect(200, call('GET', path(plan, 'sync')))
    const rotated = await call('PUT', path(plan, 'rotated'), { predecessor_binding_id: 'sync' })
    note(`${plan}, rotated`, rotated)
    await expect(400, call('PUT', path(plan, 'refused'), { ...idsOf(plan), parameters: { role: 'admin' } }))
    await expect(409, call('PUT', path(plan, 'sync'), { ...idsOf(plan), parameters: { role: 'reader' } }))
  }
  for (const plan of ['kept', 'once', 'later'] as const) {
    const bound = await call('PUT', `${path(plan, 'async')}${async}`, idsOf(plan))
    assert.equal(await done(path(plan, 'async'), bound), 'succeeded')
    note(`${plan}, asynchronous`, await call('GET', path(plan, 'async')))
    await expect(200, call('GET', path(plan, 'async')))
    const waiting = await call('PUT', `${path(plan, 'waiting')}${async}`, idsOf(plan))
    assert.equal(await done(path(plan, 'waiting'), waiting), 'succeeded')
  }
  await expect(500, call('PUT', path('failing', 'b'), idsOf('failing')))
  const updated = await call('PATCH', `${path('kept')}${async}`, { ...service, plan_id: 'once' })
  assert.equal(await done(path('kept'), updated), 'succeeded')
  // What was never fetched is known when it is fetched, and was in the tables until then.
  for (const plan of ['kept', 'once', 'later'] as const)
    note(`${plan}, fetched late`, await call('GET', path(plan, 'waiting')))
}

async function leave(call: Call): Promise<void> {
  const query = (plan: string) => `?${new URLSearchParams(idsOf(plan))}`
  const removed = async (target: string) => {
    const { status, body } = await call('DELETE', target)
    assert.equal(status, 200, JSON.stringify(body))
  }
  await removed(`${path('once', 'sync')}${query('once')}`)
  await removed(`${path('kept', 'rotated')}${query('once')}`)
  await removed(`${path('kept')}${query('once')}`)
  await removed(`${path('once')}${query('once')}`)
}

/** A superuser, of whose password the server is told no more than a verifier. */
async function loginOn(rootUrl: string, name: string, password: string): Promise<string> {
  await query(rootUrl, `CREATE ROLE ${name} SUPERUSER LOGIN PASSWORD '${await scramVerifier(password)}'`)
  const url = new URL(rootUrl)
  url.username = name
  url.password = encodeURIComponent(password)
  return url.href
}

function urlOnState(rootUrl: string): string {
  const url = new URL(rootUrl)
  url.pathname = '/walk_state'
  return url.href
}
