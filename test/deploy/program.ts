import assert from 'node:assert/strict'
import { type SpawnOptions, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import type { TestContext } from 'node:test'
import { testPostgres } from '../helper/postgres.ts'
import { type Broker, listening, type Program, platformOf, shipped, watch } from '../server/broker-process.ts'

/** What every broker of these tests is configured with. */
export const credentials = { BROKER_USERNAME: 'platform', BROKER_PASSWORD: 'p4ss' }

/** Starts a program whose process is gone after the test. */
export function start(t: TestContext, [command = '', ...args]: readonly string[], options: SpawnOptions): Program {
  const program = watch(spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options }))
  t.after(async () => {
    if (program.running) program.child.kill('SIGKILL')
    await program.ended
  })
  return program
}

/** Runs a program to its end. */
export async function run(t: TestContext, command: readonly string[], options: SpawnOptions) {
  const program = start(t, command, options)
  const { code, signal } = await program.ended
  return { code, signal, stdout: program.stdout, stderr: program.stderr }
}

/** Starts a broker and waits until it listens. */
export async function serve(t: TestContext, command: readonly string[], options: SpawnOptions): Promise<Broker> {
  return await listening(start(t, command, options))
}

/** The variables of a broker with a database of its own, that hands out databases of the server of this test. */
export async function postgresVariables(): Promise<Record<string, string>> {
  const { adminUrl, createDatabase } = await testPostgres()
  return {
    ...credentials,
    BROKER_STORAGE: 'postgres',
    DATABASE_URL: await createDatabase(),
    BROKER_ENCRYPTION_KEYS: `k1:${randomBytes(32).toString('base64')}`,
    POSTGRESQL_ADMIN_URL: adminUrl,
    LOG_LEVEL: 'warn'
  }
}

/** A database made, bound, unbound and removed, as a platform does it. */
export async function walk(broker: Broker): Promise<void> {
  const call = platformOf(broker, `${credentials.BROKER_USERNAME}:${credentials.BROKER_PASSWORD}`)
  const instance = '/v2/service_instances/deployed'
  const binding = `${instance}/service_bindings/app`
  const query = `?service_id=${shipped.service_id}&plan_id=${shipped.plan_id}`
  const made = await call('PUT', instance, { ...shipped, organization_guid: 'org', space_guid: 'space' })
  assert.deepEqual([made.status, made.body], [201, {}])
  const bound = await call('PUT', binding, shipped)
  assert.equal(bound.status, 201)
  assert.match(bound.body.credentials.uri, /^postgresql:\/\/osb_b_/)
  for (const path of [binding, instance]) {
    const removed = await call('DELETE', path + query)
    assert.deepEqual([removed.status, removed.body], [200, {}], path)
  }
}

/** A port that nothing listens on. */
export async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listenOn(server)
  server.close()
  await once(server, 'close')
  return port
}

/** Has a server listen on this machine, and answers its port. */
export async function listenOn(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('a server without a port')
  return address.port
}
