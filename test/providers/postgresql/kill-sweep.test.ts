import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client } from 'pg'
import { temporaryFolder } from '../../server/broker-process.ts'
import { untilDone } from './failures.ts'
import { KeptInstance, type Moment, type Operation, type Order, operations, perform } from './kept-instance.ts'
import { adminKinds, type Instance, leftovers, type Scene, scalar, setUp } from './support.ts'

/** `TEST_SWEEP=all`: each point, at both moments, with both admins. Without it every some points, which takes seconds. */
const whole = process.env.TEST_SWEEP === 'all'
const worker = fileURLToPath(new URL('./killed-worker.ts', import.meta.url))
/** Lives at a time; each is two processes, one of which waits. */
const lanes = 2
const step = whole ? 1 : 3
const moments: Moment[] = ['before', 'after']

// The plain admin has every statement of the superuser, and the grants to itself
for (const admin of whole ? adminKinds : (['CREATEDB CREATEROLE'] as const)) {
  for (const moment of whole ? moments : (['mixed'] as const)) {
    test(`[row 1] [row 11] life: ${admin}, killed ${moment} statements, converges`, { timeout: 600_000 }, async (t) => {
      const sweep = new Sweep(await setUp(t, { admin }), temporaryFolder(t))
      let lives = 0
      const lane = async () => {
        while (!sweep.over) {
          const life = lives++
          const when = moment === 'mixed' ? (moments[life % 2] ?? 'before') : moment
          // Some are removed half-made, as a platform does after a failure
          await sweep.live({ at: 1 + life * step, moment: when, removed: life % 3 === 1 })
        }
      }
      await Promise.all(Array.from({ length: lanes }, lane))
      t.diagnostic(`${sweep.kills} kills; ${JSON.stringify(Object.fromEntries(sweep.points))}`)
      assert.ok(sweep.kills > operations.length)
    })
  }
}

class Sweep {
  /** The last point of each operation that a worker was killed at. */
  readonly points = new Map<Operation, number>()
  kills = 0
  readonly #scene: Scene
  readonly #folder: string
  /** Operations that have ended before their point. */
  readonly #ended = new Set<Operation>()

  constructor(scene: Scene, folder: string) {
    this.#scene = scene
    this.#folder = folder
  }

  get over(): boolean {
    return this.#ended.size === operations.length
  }

  /** One life of an instance, each operation of which is killed at this point and then repeated. */
  async live({ at, moment, removed }: { at: number; moment: Moment; removed: boolean }): Promise<void> {
    const file = join(this.#folder, `${at}-${moment}.json`)
    let ownerUri = ''
    for (const operation of operations) {
      const killed = !this.#ended.has(operation) && (await this.#kill({ operation, at, moment, file }))
      const instance = new KeptInstance(this.#scene.provider, file)
      try {
        if (killed && removed) await this.#remove(instance, operation)
        await this.#repeat(instance, operation)
        if (operation === 'bind owner') ownerUri = await instance.uri('owner')
        await this.#check(instance, operation, ownerUri)
      } catch (cause) {
        throw new Error(`${operation}, killed ${moment} statement ${at}, does not converge: ${cause}`, { cause })
      }
    }
  }

  /** False when the operation was over before. */
  async #kill(order: Omit<Order, 'adminUrl'>): Promise<boolean> {
    const child = spawn(process.execPath, [worker], {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, NODE_COMPILE_CACHE: join(this.#folder, 'compiled') }
    })
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    child.stdin.end(JSON.stringify({ ...order, adminUrl: this.#scene.adminUrl }))
    const [code, signal] = await once(child, 'close')
    if (signal === 'SIGKILL') {
      this.kills += 1
      this.points.set(order.operation, Math.max(order.at, this.points.get(order.operation) ?? 0))
      return true
    }
    assert.equal(code, 0, `${order.operation}, statement ${order.at}: ${said}`)
    this.#ended.add(order.operation)
    return false
  }

  async #repeat(instance: Instance, operation: Operation): Promise<void> {
    await untilDone({ instance, adminUrl: this.#scene.adminUrl }, (call) => perform[operation](instance, call))
  }

  async #remove(instance: Instance, operation: Operation): Promise<void> {
    if (operation === 'provision') {
      await this.#repeat(instance, 'deprovision')
      // Without a state it came to nothing
      if (instance.states.size > 0) assert.deepEqual(await this.#leftovers(instance), [])
    } else if (operation === 'bind owner') {
      await this.#repeat(instance, 'unbind')
      assert.equal((await this.#leftovers(instance)).length, 3)
    }
  }

  async #check(instance: Instance, operation: Operation, ownerUri: string): Promise<void> {
    const { token, database } = instance
    switch (operation) {
      case 'provision':
        return assert.equal((await this.#leftovers(instance)).length, 3)
      case 'bind owner':
        return await use(ownerUri, async (client) => {
          assert.equal(await scalar(client, 'SELECT current_user'), `osb_o_${token}`)
          await client.query('CREATE TABLE kept (id int)')
          await client.query('SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.kept (id int)')
        })
      case 'bind reader':
        return await read(instance)
      case 'update': {
        const limits = await this.#scene.sql(
          `SELECT datconnlimit AS n FROM pg_database WHERE datname = $1
           UNION SELECT rolconnlimit FROM pg_roles WHERE starts_with(rolname, $2) ORDER BY n`,
          [database, `osb_b_${token}_`]
        )
        return assert.deepEqual(limits, [{ n: 4 }, { n: 8 }])
      }
      case 'unbind':
        await assert.rejects(
          use(ownerUri, async () => undefined),
          { code: '28P01' }
        )
        assert.equal((await this.#leftovers(instance)).length, 4)
        return await read(instance)
      case 'deprovision':
        return assert.deepEqual(await this.#leftovers(instance), [])
    }
  }

  async #leftovers({ token }: Instance): Promise<string[]> {
    return await leftovers(this.#scene.sql, token)
  }
}

/** What the owner made, as either role, is there to read, and to nothing else. */
async function read(instance: Instance): Promise<void> {
  await use(await instance.uri('reader', { role: 'reader' }), async (client) => {
    assert.equal(await scalar(client, 'SELECT count(*)::int FROM kept, mine.kept AS other'), 0)
    await assert.rejects(client.query('BEGIN READ WRITE; DELETE FROM kept'), { code: '42501' })
  })
}

async function use(connectionString: string, work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString })
  client.on('error', () => undefined)
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
