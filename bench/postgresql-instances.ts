import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { startEmbeddedPostgres } from '../src/embedded-postgres/index.ts'
import { postgresqlProvider } from '../src/providers/postgresql/index.ts'
import { removeServer } from '../test/helper/postgres.ts'
import { Instance } from '../test/providers/postgresql/support.ts'
import { median } from './harness/statistics.ts'

/*
 * npm run bench:instances: what each operation of the provider takes on a server with few instances, and with many. One run,
 * one server with fsync; the few come first, because they are among the many.
 */

const { values } = parseArgs({
  options: {
    few: { type: 'string', default: '10' },
    many: { type: 'string', default: '1000' },
    rounds: { type: 'string', default: '30' }
  }
})
const [few, many, rounds] = [Number(values.few), Number(values.many), Number(values.rounds)]

const verbs = [
  'provision',
  'bind',
  'update',
  'watch',
  'repair',
  'unbind',
  'deprovision',
  'DROP DATABASE by hand'
] as const
type Verb = (typeof verbs)[number]
type Times = Record<Verb, number[]>

const dataDir = mkdtempSync(join(tmpdir(), `osb-test-postgres-${process.pid}-`))
process.once('exit', () => removeServer(dataDir))
const server = await startEmbeddedPostgres({ dataDir, settings: { max_connections: '50' } })
const provider = postgresqlProvider({ adminUrl: server.adminUrl })
const root = new Client({ connectionString: server.adminUrl })
await root.connect()
try {
  await provider.start?.()
  await fill(few)
  // The first rounds of a new server and a new process are no one's measure
  await measure()
  const withFew = await measure()
  await fill(many - few)
  const withMany = await measure()
  print(withFew, withMany)
} finally {
  await root.end()
  await provider.stop?.()
  await server.stop()
}

/** Instances with a binding each, four at a time. */
async function fill(count: number): Promise<void> {
  let left = count
  const worker = async () => {
    while (left > 0) {
      left -= 1
      const instance = new Instance(provider)
      await instance.provision()
      await instance.bind('b')
    }
  }
  await Promise.all(Array.from({ length: 4 }, worker))
}

async function measure(): Promise<Times> {
  const times: Times = {
    provision: [],
    bind: [],
    update: [],
    watch: [],
    repair: [],
    unbind: [],
    deprovision: [],
    'DROP DATABASE by hand': []
  }
  for (let round = 0; round < rounds; round += 1) {
    const instance = new Instance(provider)
    instance.options = { storage_quota: '1GB' }
    const timed = async (verb: Verb, work: () => Promise<unknown>) => {
      const began = performance.now()
      await work()
      times[verb].push(performance.now() - began)
    }
    await timed('provision', () => instance.provision())
    await timed('bind', () => instance.bind('b'))
    await timed('update', () => instance.update({ storage_quota: '1GB', connection_limit: 5 }))
    await timed('watch', () => instance.watch())
    await timed('repair', () => instance.repair(false))
    await timed('unbind', () => instance.unbind('b'))
    await timed('deprovision', () => instance.deprovision())
    // What of the removal is PostgreSQL's own: it waits for a checkpoint
    await root.query('CREATE DATABASE by_hand TEMPLATE template0')
    await timed('DROP DATABASE by hand', () => root.query('DROP DATABASE by_hand WITH (FORCE)'))
  }
  return times
}

function print(withFew: Times, withMany: Times): void {
  console.log(`| operation | with ${few} | with ${many} | ratio |\n| --- | --- | --- | --- |`)
  for (const verb of verbs) {
    const [a, b] = [median(withFew[verb]), median(withMany[verb])]
    console.log(`| ${verb} | ${a.toFixed(1)} ms | ${b.toFixed(1)} ms | ${(b / a).toFixed(2)} |`)
  }
  console.log(`\nmedians of ${rounds} rounds, one operation at a time`)
}
