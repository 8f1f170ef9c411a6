import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AdminServer } from '../../../src/providers/postgresql/server.ts'
import { setUp } from './support.ts'

test('side connection: statements that begin together run one after another, on one session', async (t) => {
  const { adminUrl } = await setUp(t)
  const server = new AdminServer({ adminUrl })
  t.after(() => server.close())
  const warnings: string[] = []
  const listen = ({ message }: Error) => void warnings.push(message)
  process.on('warning', listen)
  t.after(() => void process.off('warning', listen))
  const ended: number[] = []
  const rows = await Promise.allSettled(
    [0, 1, 2, 3].map(async (index) => {
      const statement = index === 1 ? 'SELECT 1 / 0' : 'SELECT pg_backend_pid() AS pid, pg_sleep(0.05)'
      const [row] = await server.aside.query<{ pid: number }>(statement).finally(() => ended.push(index))
      return row?.pid
    })
  )
  assert.deepEqual(ended, [0, 1, 2, 3])
  assert.deepEqual(
    rows.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled']
  )
  const pids = rows.flatMap((row) => (row.status === 'fulfilled' ? [row.value] : []))
  assert.equal(new Set(pids).size, 1)
  // Warnings are emitted on the next tick.
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(warnings, [])
})
