import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { promisify } from 'node:util'
import { exists, findProcess } from '../../src/embedded-postgres/processes.ts'
import {
  type Answer,
  type Broker,
  embeddedServer,
  end,
  listens,
  plainEnvironment,
  platformOf,
  query,
  scene,
  until
} from './broker-process.ts'

const execute = promisify(execFile)

/** Ids of the shipped catalog, which people have in scripts. */
const ids = {
  service_id: '8f1f8a8e-3f0c-4d2a-9a55-0f6f6f1c7d01',
  plan_id: '5b0f3c52-6a8e-4f6b-b8a4-2f9d5e3a7c11'
}
const provision = { ...ids, organization_guid: 'org', space_guid: 'space' }
const deleteQuery = `?service_id=${ids.service_id}&plan_id=${ids.plan_id}`
const instance = '/v2/service_instances/walk-db'
const first = `${instance}/service_bindings/first`
const second = `${instance}/service_bindings/second`

test('npm start: the lines of the greeting, pasted into a shell, answer 201 201 200 200 200', async (t) => {
  const { dataDir, serve } = scene(t)
  const broker = await serve()
  const file = join(dataDir, 'credentials')
  const credentials = readFileSync(file, 'utf8').trim()
  const [, username, password] = /^Its credentials are (\S+) \/ (\S+)$/m.exec(broker.greeting) ?? []
  assert.equal(`${username}:${password}`, credentials)
  assert.ok(broker.greeting.includes(`and stay in ${file}.`))
  assert.equal(statSync(file).mode & 0o777, 0o600)

  const lines = curlLines(broker)
  assert.equal(lines.length, 5)
  const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
  for (const line of lines) {
    const shown = line.replaceAll(broker.url, 'http://127.0.0.1:8080').replaceAll(file, '.data/credentials')
    assert.ok(readme.includes(`\n${shown}\n`), `the README lacks ${shown}`)
  }
  const answers = await paste(lines)
  assert.deepEqual(
    answers.map(({ status }) => status),
    [201, 201, 200, 200, 200]
  )
  const [made, bound, fetched, unbound, removed] = answers.map(({ body }) => body)
  assert.deepEqual(made, {})
  assert.match(bound.credentials.uri, /^postgresql:\/\//)
  assert.deepEqual(fetched, bound)
  assert.deepEqual([unbound, removed], [{}, {}])

  assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })
  const again = await serve()
  assert.doesNotMatch(again.greeting, /Its credentials are/, 'the password is printed once')
  assert.deepEqual(
    (await paste(curlLines(again))).map(({ status }) => status),
    [201, 201, 200, 200, 200]
  )
})

test('npm start: a database and its bindings outlive stops and crashes', async (t) => {
  const step = stepsOf(t)
  const { dataDir, serve } = scene(t)
  let broker = await serve()
  const platform = () => platformOf(broker, readFileSync(join(dataDir, 'credentials'), 'utf8').trim())
  const call = (method: string, path: string, body?: object) => platform()(method, path, body)
  const uris = { first: '', second: '' }
  let bindings: unknown[] = []
  let database = ''
  const server = () => embeddedServer(dataDir)
  const read = () => query(uris.first, 'SELECT * FROM walk ORDER BY id')
  const kept = [
    { id: 1, name: 'one', added: null },
    { id: 2, name: 'two', added: null },
    { id: 3, name: 'three', added: 4 }
  ]

  await step('provision, bind, and use the database', async () => {
    const accepted = await call('PUT', `${instance}?accepts_incomplete=true`, provision)
    assert.equal(accepted.status, 202)
    await polled(call, `${instance}/last_operation?operation=${accepted.body.operation}`)
    const bound = await call('PUT', first, ids)
    assert.equal(bound.status, 201)
    uris.first = bound.body.credentials.uri
    database = bound.body.credentials.database
    await query(uris.first, 'CREATE TABLE walk (id int PRIMARY KEY, name text, dropped text)')
    await query(uris.first, `INSERT INTO walk VALUES (1, 'one', 'x'), (2, 'two', 'y')`)
  })

  await step('a second binding alters what the first has made', async () => {
    const bound = await call('PUT', second, ids)
    assert.equal(bound.status, 201)
    uris.second = bound.body.credentials.uri
    assert.notEqual(uris.second, uris.first)
    await query(uris.second, 'ALTER TABLE walk DROP COLUMN dropped')
    await query(uris.second, 'ALTER TABLE walk ADD COLUMN added int')
    await query(uris.second, `INSERT INTO walk VALUES (3, 'three', 4)`)
    assert.deepEqual(await read(), kept)
    bindings = await Promise.all([first, second].map(async (path) => (await call('GET', path)).body))
  })

  const requireAllThere = async () => {
    const fetched = await call('GET', instance)
    assert.equal(fetched.status, 200)
    assert.deepEqual(fetched.body, ids)
    for (const [index, path] of [first, second].entries()) {
      const { status, body } = await call('GET', path)
      assert.equal(status, 200)
      assert.deepEqual(body, bindings[index])
    }
    assert.deepEqual(await read(), kept)
    assert.equal((await call('PUT', instance, provision)).status, 200)
    assert.equal((await call('PUT', first, ids)).status, 200)
  }

  await step('SIGTERM ends the broker and its server; a new start has everything', async () => {
    const pid = server().pid()
    assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })
    assert.equal(broker.stderr, '')
    assert.deepEqual(broker.log, [], 'nothing to warn of')
    assert.equal(await listens(server().port), false)
    assert.equal(await findProcess(pid), undefined)
    broker = await serve()
    await requireAllThere()
  })

  await step('kill -9 of the broker; a new start has everything', async () => {
    const pid = server().pid()
    assert.equal((await end(broker, 'SIGKILL')).signal, 'SIGKILL')
    assert.ok(exists(pid))
    broker = await serve()
    await requireAllThere()
  })

  await step('kill -9 of the server; the broker provisions again by itself', async () => {
    const path = '/v2/service_instances/after-the-crash'
    process.kill(server().pid(), 'SIGKILL')
    const failures: Answer[] = []
    await until('the broker provisions again', async () => {
      const answer = await call('PUT', path, provision)
      if (answer.status === 201) return true
      failures.push(answer)
      return false
    })
    for (const { status, body, headers } of failures) {
      assert.equal(status, 503, JSON.stringify(body))
      assert.equal(typeof body.description, 'string')
      assert.match(headers.get('retry-after') ?? '', /^\d+$/)
    }
    assert.ok(broker.running)
    await requireAllThere()
    assert.equal((await call('DELETE', path + deleteQuery)).status, 200)
  })

  await step('unbind ends the credentials, deprovision leaves nothing', async () => {
    assert.equal((await call('DELETE', first + deleteQuery)).status, 200)
    await assert.rejects(query(uris.first, 'SELECT 1'), /authentication failed|does not exist/)
    assert.equal((await query(uris.second, 'SELECT count(*)::int AS rows FROM walk'))[0]?.rows, 3)
    assert.equal((await call('DELETE', second + deleteQuery)).status, 200)
    const removed = await call('DELETE', instance + deleteQuery)
    assert.equal(removed.status, 200)
    assert.deepEqual(removed.body, {})
    assert.equal((await call('GET', instance)).status, 404)
    assert.equal((await call('DELETE', instance + deleteQuery)).status, 410)
    const admin = server().urlOf('postgres')
    assert.deepEqual(await query(admin, `SELECT datname FROM pg_database WHERE datname ~ '^osb_[dx]'`), [])
    const token = database.replace('osb_d_', '')
    assert.notEqual(token, '')
    assert.deepEqual(await query(admin, 'SELECT rolname FROM pg_roles WHERE strpos(rolname, $1) > 0', [token]), [])
  })

  await step('Ctrl-C ends both', async () => {
    const pid = server().pid()
    // As a terminal does it: every process of the group gets the signal.
    process.kill(-broker.pid, 'SIGINT')
    assert.deepEqual(await broker.ended, { code: 0, signal: null })
    assert.equal(broker.stderr, '')
    assert.equal(await listens(server().port), false)
    assert.equal(await findProcess(pid), undefined)
  })
})

/** Parts of one story: none begins when the one before has failed. */
function stepsOf(t: TestContext) {
  return async (name: string, run: () => Promise<void>) => {
    let passed = false
    await t.test(name, async () => {
      await run()
      passed = true
    })
    if (!passed) throw new Error(`the walk ended at "${name}"`)
  }
}

function curlLines({ greeting }: Broker): string[] {
  return greeting.split('\n').flatMap((line) => (line.startsWith('  curl ') ? [line.trim()] : []))
}

/** Runs each line in bash and answers what curl got. */
async function paste(lines: string[]) {
  const answers = []
  for (const line of lines) {
    // Adds the status to what curl prints, and changes nothing of the line.
    const { stdout } = await execute('bash', ['-c', `curl() { command curl -w '\\n%{http_code}' "$@"; }\n${line}`], {
      env: plainEnvironment()
    })
    const [body = '', status] = stdout.split('\n')
    answers.push({ status: Number(status), body: JSON.parse(body) })
  }
  return answers
}

async function polled(call: (method: string, path: string) => Promise<Answer>, path: string): Promise<void> {
  const state = await until('the operation ends', async () => {
    const { status, body } = await call('GET', path)
    assert.equal(status, 200)
    return body.state !== 'in progress' && body.state
  })
  assert.equal(state, 'succeeded')
}
