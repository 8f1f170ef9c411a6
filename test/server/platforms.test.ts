import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { basic } from '../helper/app.ts'
import { phc } from '../platforms/support.ts'
import { platformOf, scene, temporaryFolder, until, type Variables } from './broker-process.ts'

const plan = { id: 'plan-small', name: 'small', description: 'Small' }

/** A broker with a file of platforms and a catalog, and the means to change both. */
async function served(t: TestContext, platforms: object, variables: Variables = { BROKER_STORAGE: 'memory' }) {
  const folder = temporaryFolder(t)
  const [platformsFile, catalogFile] = [join(folder, 'platforms.json'), join(folder, 'catalog.json')]
  const write = (content: object | string) =>
    writeFileSync(platformsFile, typeof content === 'string' ? content : JSON.stringify({ platforms: content }))
  const offer = (...names: string[]) => {
    const services = names.map((name) => ({
      id: name,
      name,
      description: 'd',
      bindable: true,
      'x-broker': { provider: 'example' },
      plans: [{ ...plan, id: `${name}-small` }]
    }))
    writeFileSync(catalogFile, JSON.stringify({ services }))
  }
  const writeCatalog = (text: string) => writeFileSync(catalogFile, text)
  write(platforms)
  offer('toy')
  const { serve, dataDir } = scene(t)
  const broker = await serve({
    BROKER_PLATFORMS_FILE: platformsFile,
    BROKER_CATALOG_PATH: catalogFile,
    LOG_LEVEL: 'info',
    ...variables
  })
  const ends = () => broker.log.filter(({ msg }) => /^the (catalog|platforms) (was|were) /.test(String(msg)))
  /** Answers what the log says about the two reloads: `level message`, sorted. */
  const hangUp = async () => {
    const earlier = ends().length
    broker.child.kill('SIGHUP')
    await until('both reloads are logged', () => ends().length >= earlier + 2)
    return ends()
      .slice(earlier)
      .map(({ level, msg }) => `${level} ${msg}`)
      .sort()
  }
  const statusOf = async (userpass: string) => (await platformOf(broker, userpass)('GET', '/v2/catalog')).status
  return { broker, dataDir, write, offer, writeCatalog, hangUp, statusOf }
}

const ofCatalog = {
  good: '30 the catalog was loaded again',
  bad: '50 the catalog was not loaded again; the old one stays'
}
const ofPlatforms = {
  good: '30 the platforms were loaded again',
  bad: '50 the platforms were not loaded again; the old ones stay'
}

test('SIGHUP: platforms and catalog are loaded again, and a fault in one does not keep the other', async (t) => {
  const entry = (username: string, password: string) => ({ basic: [{ username, password_hash: phc(password) }] })
  const { broker, write, offer, writeCatalog, hangUp, statusOf } = await served(t, { cf: entry('cf', 'first') })
  assert.match(broker.greeting, /-u "USERNAME:PASSWORD"/)
  assert.equal(await statusOf('cf:first'), 200)

  write({ cf: entry('cf', 'second'), k8s: entry('k8s', 'third') })
  offer('toy', 'other')
  assert.deepEqual(await hangUp(), [ofCatalog.good, ofPlatforms.good])
  assert.deepEqual(
    [await statusOf('cf:first'), await statusOf('cf:second'), await statusOf('k8s:third')],
    [401, 200, 200]
  )
  const { body } = await platformOf(broker, 'k8s:third')('GET', '/v2/catalog')
  assert.deepEqual(
    body.services.map(({ name }: { name: string }) => name),
    ['toy', 'other']
  )

  write({ cf: { basic: [{ username: 'cf', password_hash: 'hunter2' }] } })
  offer('toy')
  assert.deepEqual(await hangUp(), [ofCatalog.good, ofPlatforms.bad])
  assert.match(JSON.stringify(broker.log), /platforms\.cf\.basic\[0\]\.password_hash must be/)
  assert.deepEqual([await statusOf('cf:second'), await statusOf('k8s:third')], [200, 200])

  write({ cf: entry('cf', 'fourth') })
  writeCatalog('services: [')
  assert.deepEqual(await hangUp(), [ofPlatforms.good, ofCatalog.bad])
  assert.deepEqual([await statusOf('cf:fourth'), await statusOf('cf:second')], [200, 401])
  assert.doesNotMatch(JSON.stringify(broker.log), /hunter2|second|fourth|scrypt\$ln=15|Basic /)
})

test('SIGHUP: names in the rules that the catalog does not have are warned of, at the start and again', async (t) => {
  const limited = (service: string) => ({
    cf: { basic: [{ username: 'cf', password_hash: phc('pass') }], catalog: [{ service }] }
  })
  const { broker, write, offer, hangUp } = await served(t, limited('redis'))
  const warnings = () => broker.log.filter(({ level }) => level === 40).map(({ msg }) => msg)
  await until('the first warning is logged', () => warnings().length > 0)
  assert.deepEqual(warnings(), ['platforms.cf.catalog[0] names the service redis, which the catalog does not have'])
  write(limited('mongo'))
  offer('mongo')
  assert.deepEqual(await hangUp(), [ofCatalog.good, ofPlatforms.good])
  offer('toy')
  assert.deepEqual(await hangUp(), [ofCatalog.good, ofPlatforms.good])
  await until('the warning is logged', () => warnings().length > 1)
  assert.deepEqual(warnings().slice(1), [
    'platforms.cf.catalog[0] names the service mongo, which the catalog does not have'
  ])
})

test('osb serve: embedded storage generates no credentials beside a file of platforms', async (t) => {
  const platforms = { cf: { basic: [{ username: 'cf', password_hash: phc('pass') }] } }
  const { broker, dataDir, statusOf } = await served(t, platforms, { BROKER_STORAGE: 'embedded' })
  assert.equal(await statusOf('cf:pass'), 200)
  assert.equal(existsSync(join(dataDir, 'encryption-keys')), true)
  assert.equal(existsSync(join(dataDir, 'credentials')), false)
  assert.doesNotMatch(broker.greeting, /credentials are/)
})

test('osb serve: BROKER_TRUST_PROXY makes the address that of the client', async (t) => {
  const platforms = { cf: { basic: [{ username: 'cf', password_hash: phc('pass') }] } }
  const { broker } = await served(t, platforms, { BROKER_STORAGE: 'memory', BROKER_TRUST_PROXY: '127.0.0.0/8, ::1' })
  const headers = { authorization: basic('cf', 'pass'), 'x-forwarded-for': '192.0.2.1' }
  await fetch(`${broker.url}/v2/catalog/none`, { headers })
  await until('the request is logged', () => JSON.stringify(broker.log).includes('"remoteAddress":"192.0.2.1"'))
})
