import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import { type TestContext, test } from 'node:test'
import { HaltListener } from '../../../src/stores/postgres/halt-listener.ts'
import { tablesOf } from '../../../src/stores/postgres/index.ts'
import { until } from '../../helper/scripted-provider.ts'
import { freshStore } from './fresh-store.ts'

/** A listener with the signal that closes it, which it keeps to itself. */
function listenerOf(t: TestContext, options: ConstructorParameters<typeof HaltListener>[0]) {
  const signals: AbortSignal[] = []
  const Original = AbortController
  const Recording = class extends Original {
    constructor() {
      super()
      signals.push(this.signal)
    }
  }
  globalThis.AbortController = Recording
  try {
    const listener = new HaltListener(options)
    t.after(() => listener.close())
    const [signal] = signals
    assert.ok(signal !== undefined && signals.length === 1)
    return { listener, signal }
  } finally {
    globalThis.AbortController = Original
  }
}

test('HaltListener: reconnects leave no listener on its signal behind', async (t) => {
  const { pool, meddler } = await freshStore(t)
  const warnings: object[] = []
  const log = { warn: (fields: object) => void warnings.push(fields) }
  const { listener, signal } = listenerOf(t, { pool, tables: tablesOf('osb'), log })
  const heard: string[] = []
  listener.add((operationId) => heard.push(operationId))
  // Its last query looked for the halts that it missed, or checked the connection.
  const listening = async () => {
    const { rows } = await meddler.query<{ pid: number }>(
      `SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'osb-halt'
      AND state = 'idle' AND (query LIKE '%halts%' OR query = 'SELECT')`
    )
    return rows.map(({ pid }) => pid)
  }
  const pids = new Set<number>()
  for (let round = 0; round < 8; round += 1) {
    await until('it listens', async () => (await listening()).some((pid) => !pids.has(pid)))
    for (const pid of await listening()) {
      pids.add(pid)
      await meddler.query('SELECT pg_terminate_backend($1)', [pid])
    }
  }
  await until('the last loss is noticed', () => warnings.length >= 8)
  await until('it listens again', async () => (await listening()).some((pid) => !pids.has(pid)))
  await meddler.query('SELECT pg_notify($1, $2)', [tablesOf('osb').haltChannel, 'the operation'])
  await until('it hears of a halt', () => heard.length > 0)
  assert.deepEqual(heard, ['the operation'])
  // One of the connection and one of the pause until its next check. The pauses of lost connections end a little later.
  await until('two listeners are left', () => getEventListeners(signal, 'abort').length <= 2)
  await listener.close()
  assert.equal(getEventListeners(signal, 'abort').length, 0)
})
