import assert from 'node:assert/strict'
import { after, before, type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { bindBody, deleteQuery, ids, provisionBody } from '../../helper/app.ts'
import { openTcpProxy } from '../../helper/tcp-proxy.ts'
import {
  ASYNC,
  accepted,
  answered,
  catalogOf,
  instancePath,
  onePlatform,
  type Platform,
  planOf
} from '../../routes/support.ts'
import { OwnServer } from './own-server.ts'
import { cleanUp } from './support.ts'

/** A login that is lost on the way keeps the server from dropping any database until this is over; its default is a minute. */
const server = new OwnServer({ authentication_timeout: '5s' })
const plan = ids.plans.either
/** An operation that hangs is to be tried again within this. */
const RETRIED_MS = 60_000

before(() => server.start())
after(() => server.remove())

test('[row 34] PUT instance: creates whose connections are lost in the middle are tried again within a minute', async (t) => {
  const { platform, proxy } = await scene(t)
  // More than there are maintenance connections
  const names = Array.from({ length: 14 }, (_, index) => `i-${index}`)
  const operations = await Promise.all(
    names.map(async (name) => accepted(await platform.provision(name, provisionBody(plan), ASYNC)))
  )
  await until('several are at work on the server', 10_000, async () => {
    const [row] = await server.sql(
      `SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name LIKE 'osb:%' AND state = 'active'`
    )
    return Number(row?.n) >= 3
  })
  proxy.freeze()
  const frozen = Date.now()
  const probes = probe(platform)
  // The rest of the time is that of the creates themselves
  const synchronous = until('a synchronous create succeeds', RETRIED_MS, async () => {
    const { statusCode } = await platform.provision('sync', provisionBody(plan))
    return statusCode === 201 || statusCode === 200
  })
  await Promise.all(
    names.map((name, index) =>
      until(`${name} is made`, RETRIED_MS, async () => {
        const { state } = answered(await platform.poll(instancePath(name), operations[index]), 200)
        assert.notEqual(state, 'failed')
        return state === 'succeeded'
      })
    )
  )
  await synchronous
  await until('the broker is ready', RETRIED_MS, async () => (await platform.get('/readyz')).statusCode === 200)
  t.diagnostic(`all were made, and the broker ready, ${Date.now() - frozen} ms after the loss`)
  const slowest = await probes.stop()
  assert.ok(slowest < 6_000, `/readyz took ${slowest} ms`)
})

test('[row 34] PUT instance: synchronous, on connections that were lost while they were idle, answers 201', async (t) => {
  const { platform, proxy } = await scene(t)
  // Fills the pool
  const names = Array.from({ length: 8 }, (_, index) => `warm-${index}`)
  for (const { statusCode } of await Promise.all(names.map((name) => platform.provision(name, provisionBody(plan))))) {
    assert.equal(statusCode, 201)
  }
  proxy.freeze()
  answered(await platform.provision('cold', provisionBody(plan)), 201)
  // Those that were lost do not stay on the server
  await until('only those are left that work', 10_000, async () => {
    const [row] = await server.sql(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name LIKE 'osb%'`)
    return Number(row?.n) <= proxy.open && Number(row?.n) <= 3
  })
})

test('[row 34] every operation: connections that are lost at any moment of it delay it, and no more', async (t) => {
  const { platform, proxy, provider } = await scene(t)
  const others = await provider.inventory?.list()
  const losing = async (what: string, statuses: number[], call: () => Promise<{ statusCode: number }>) => {
    let calling = call()
    // About as long as one takes
    await sleep(Math.random() * (what === 'provision' ? 150 : 30))
    proxy.freeze()
    await until(what, RETRIED_MS, async () => {
      const { statusCode } = await calling
      if (statuses.includes(statusCode)) return true
      calling = call()
      return false
    })
  }
  for (let turn = 0; turn < 2; turn += 1) {
    const name = `i-${turn}`
    await losing('provision', [200, 201], () => platform.provision(name, provisionBody(plan)))
    await losing('bind', [200, 201], () => platform.bind(name, 'b', bindBody(plan)))
    await losing('unbind', [200, 410], () => platform.unbind(name, 'b', deleteQuery(plan)))
    await losing('deprovision', [200, 410], () => platform.deprovision(name, deleteQuery(plan)))
  }
  // What an answer 503 left behind is being undone in the background.
  await until('nothing is left', RETRIED_MS, async () => {
    return (await provider.inventory?.list())?.length === others?.length
  })
})

test('[row 34] health: where nothing passes any more rejects within seconds, and recovers with the network', async (t) => {
  const { provider, proxy } = await scene(t)
  await provider.health?.()
  proxy.freeze({ all: true })
  const began = Date.now()
  await assert.rejects(async () => provider.health?.())
  assert.ok(Date.now() - began < 10_000)
  proxy.thaw()
  await until('it is healthy', 20_000, async () => {
    return await (async () => provider.health?.())().then(
      () => true,
      () => false
    )
  })
})

/** A broker whose one plan is of the provider, and a proxy between the provider and its server. */
async function scene(t: TestContext) {
  const proxy = await openTcpProxy(Number(new URL(server.adminUrl).port))
  cleanUp(t, () => proxy.close())
  const adminUrl = server.adminUrl.replace(/:\d+\//, `:${proxy.port}/`)
  const provider = postgresqlProvider({ adminUrl })
  const only = planOf(plan, { mode: 'either' })
  const { services } = catalogOf([only], { 'x-broker': { provider: 'postgresql' } })
  const catalog = { services: services.slice(0, 1) }
  const platform = await onePlatform(t, { catalog, providers: [provider] })
  return { provider, platform, proxy }
}

/** Asks `/readyz` all the time; answers the longest that it took. */
function probe(platform: Platform) {
  const over = new AbortController()
  let slowest = 0
  const asking = (async () => {
    while (!over.signal.aborted) {
      const began = Date.now()
      await platform.get('/readyz')
      slowest = Math.max(slowest, Date.now() - began)
      await sleep(100)
    }
  })()
  return {
    async stop() {
      over.abort()
      await asking
      return slowest
    }
  }
}

async function until(what: string, withinMs: number, condition: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + withinMs; !(await condition()); await sleep(50)) {
    if (Date.now() > end) throw new Error(`waited ${withinMs} ms in vain until ${what}`)
  }
}
