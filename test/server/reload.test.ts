import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { platformOf, scene, temporaryFolder, until } from './broker-process.ts'

const userpass = 'platform:reload-password'
const plans = {
  small: { id: 'plan-small', name: 'small', description: 'Small' },
  large: { id: 'plan-large', name: 'large', description: 'Large' }
}

test('SIGHUP: a changed catalog is served, without a restart', async (t) => {
  const { call, write, hangUp, changes } = await reloadable(t)
  write([{ ...plans.small, free: false }, plans.large])
  const { line } = await hangUp()
  assert.equal(line.msg, 'the catalog was loaded again')
  assert.deepEqual(
    changes().map(({ level, change, msg }) => [level, change, String(msg).split('. ')[0]]),
    [
      [30, 'changes', 'catalog: services[0:toy].plans[0:small].free is false, and was true'],
      [30, 'adds', 'catalog: services[0:toy].plans[1:large] is new']
    ]
  )
  assert.deepEqual(await planNames(call), ['small', 'large'])
  assert.equal((await call('PUT', '/v2/service_instances/i-large', body(plans.large.id))).status, 201)
})

test('SIGHUP: a catalog with a fault is refused and the old one stays', async (t) => {
  const { call, write, hangUp } = await reloadable(t)
  const before = await call('GET', '/v2/catalog')
  write([{ ...plans.small, name: 5 }, plans.large])
  const { line, text } = await hangUp()
  assert.equal(line.level, 50)
  assert.equal(line.msg, 'the catalog was not loaded again; the old one stays')
  assert.match(text, /services\[0:toy\]\.plans\[0\S*\]\.name/)
  const after = await call('GET', '/v2/catalog')
  assert.deepEqual(after.body, before.body)
  assert.equal(after.headers.get('etag'), before.headers.get('etag'))
  assert.equal((await call('PUT', '/v2/service_instances/i-1', body(plans.small.id))).status, 201)
})

test('SIGHUP: a catalog that is no YAML, empty or gone is refused and the old one stays', async (t) => {
  const { call, writeText, path, hangUp } = await reloadable(t)
  writeText('services: [')
  assert.equal((await hangUp()).line.level, 50)
  assert.deepEqual(await planNames(call), ['small'])
  writeText('')
  assert.equal((await hangUp()).line.level, 50)
  assert.deepEqual(await planNames(call), ['small'])
  rmSync(path)
  const { line, text } = await hangUp()
  assert.equal(line.level, 50)
  assert.ok(text.includes(path))
  assert.deepEqual(await planNames(call), ['small'])
})

test('SIGHUP: a catalog without a plan that is in use is refused until the plan is free', async (t) => {
  const { call, write, hangUp } = await reloadable(t)
  const instance = '/v2/service_instances/i-1'
  assert.equal((await call('PUT', instance, body(plans.small.id))).status, 201)
  write([plans.large])
  const refused = await hangUp()
  assert.equal(refused.line.level, 50)
  assert.equal(refused.line.msg, 'the catalog was not loaded again; the old one stays')
  assert.match(refused.text, /plan-small/)
  assert.deepEqual(await planNames(call), ['small'])

  assert.equal((await call('DELETE', `${instance}?service_id=toy&plan_id=${plans.small.id}`)).status, 200)
  assert.equal((await hangUp()).line.msg, 'the catalog was loaded again')
  assert.deepEqual(await planNames(call), ['large'])
  assert.equal((await call('PUT', instance, body(plans.small.id))).status, 400)
})

type Call = ReturnType<typeof platformOf>

async function planNames(call: Call): Promise<string[]> {
  const { body } = await call('GET', '/v2/catalog')
  return body.services[0].plans.map(({ name }: { name: string }) => name)
}

function body(planId: string) {
  return { service_id: 'toy', plan_id: planId, organization_guid: 'org', space_guid: 'space' }
}

/** A broker with the plan `small`, and the means to change its catalog. */
async function reloadable(t: TestContext) {
  const path = join(temporaryFolder(t), 'catalog.json')
  const writeText = (text: string) => writeFileSync(path, text)
  const write = (offered: object[]) => {
    const service = { id: 'toy', name: 'toy', description: 'A toy', bindable: true, plans: offered }
    writeText(JSON.stringify({ services: [{ ...service, 'x-broker': { provider: 'example' } }] }))
  }
  write([plans.small])
  const [username = '', password = ''] = userpass.split(':')
  const { serve } = scene(t)
  const broker = await serve({
    BROKER_STORAGE: 'memory',
    BROKER_USERNAME: username,
    BROKER_PASSWORD: password,
    BROKER_CATALOG_PATH: path,
    LOG_LEVEL: 'info'
  })
  const reloads = () => broker.log.filter(({ msg }) => /^the catalog was (not )?loaded again/.test(String(msg)))
  /** Answers what the log says about the reload. */
  const hangUp = async () => {
    const earlier = reloads().length
    broker.child.kill('SIGHUP')
    const line = await until('the reload is logged', () => reloads()[earlier])
    return { line, text: JSON.stringify(line) }
  }
  const changes = () => broker.log.filter(({ change }) => change !== undefined)
  return { path, call: platformOf(broker, userpass), write, writeText, hangUp, changes }
}
