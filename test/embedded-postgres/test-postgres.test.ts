import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findProcess } from '../../src/embedded-postgres/processes.ts'
import { testPostgres } from '../helper/postgres.ts'
import { query } from './scene.ts'

const script = fileURLToPath(new URL('test-process.ts', import.meta.url))
const foldersOf = (pid: number | undefined) => readdirSync(tmpdir()).filter((name) => name.includes(`postgres-${pid}-`))

describe('testPostgres', { concurrency: 2 }, () => {
  for (const end of ['disconnect', 'throw', 'SIGINT', 'SIGTERM'] as const) {
    test(`testPostgres: a process that ends by ${end} leaves nothing behind`, async () => {
      const { child, serverPid } = await startProcess()
      const ended = once(child, 'exit')
      if (end === 'SIGINT' || end === 'SIGTERM') child.kill(end)
      else child.send(end)
      const [code, signal] = await ended
      const wanted = { disconnect: [0, null], throw: [1, null], SIGINT: [null, 'SIGINT'], SIGTERM: [null, 'SIGTERM'] }
      assert.deepEqual([code, signal], wanted[end])
      assert.equal(await findProcess(serverPid), undefined)
      assert.deepEqual(foldersOf(child.pid), [])
    })
  }

  test('testPostgres: what a process killed with SIGKILL leaves goes at the next start', async () => {
    const { child, serverPid } = await startProcess()
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
    assert.notEqual(await findProcess(serverPid), undefined)
    const next = await startProcess()
    assert.equal(await findProcess(serverPid), undefined)
    assert.deepEqual(foldersOf(child.pid), [])
    next.child.send('disconnect')
    await once(next.child, 'exit')
  })

  test('testPostgres: each database is empty and another', async () => {
    const { createDatabase } = await testPostgres()
    const [first, second] = await Promise.all([createDatabase(), createDatabase()])
    assert.notEqual(first, second)
    await query(first, 'CREATE TABLE mine ()')
    assert.deepEqual(await query(second, `SELECT FROM pg_tables WHERE tablename = 'mine'`), [])
  })
})

async function startProcess() {
  const child = fork(script, { stdio: 'ignore', env: { ...process.env, NODE_TEST_CONTEXT: undefined } })
  const [url] = await once(child, 'message')
  const [row] = await query(url, `SELECT pg_read_file('postmaster.pid') AS text`)
  return { child, serverPid: Number(String(row?.text).split('\n')[0]) }
}
