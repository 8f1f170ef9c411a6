import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'
import { takeOwnerLock } from '../../src/embedded-postgres/owner-lock.ts'
import { pidSpace } from '../../src/embedded-postgres/processes.ts'
import { OwnerFailure, publicFolder, query, scene } from './scene.ts'

// At once, since one of them waits for ten seconds of silence.
describe('ownership', { concurrency: true }, () => {
  test('two owners: the second is refused and the first goes on', async (t) => {
    const { dataDir, start } = scene(t)
    const first = await start()
    const inUse = { code: 'in-use', message: new RegExp(`${dataDir} is in use by process ${first.process.pid}`) }
    await assert.rejects(start(), inUse)
    await assert.rejects(startEmbeddedPostgres({ dataDir }), inUse)
    assert.deepEqual(await query(first.adminUrl, 'SELECT 1 AS one'), [{ one: 1 }])
  })

  test('two owners in one process: the second is refused until the first has stopped', async (t) => {
    const { dataDir } = scene(t)
    const first = await startEmbeddedPostgres({ dataDir })
    await assert.rejects(startEmbeddedPostgres({ dataDir }), { code: 'in-use', message: /by this process/ })
    await first.stop()
    const second = await startEmbeddedPostgres({ dataDir })
    await second.stop()
  })

  test('six owners at once on an empty folder: one gets it', async (t) => {
    const { start } = scene(t)
    const outcomes = await Promise.allSettled(Array.from({ length: 6 }, () => start()))
    const refusals = outcomes.filter((outcome) => outcome.status === 'rejected').map(({ reason }) => reason)
    assert.equal(refusals.length, 5)
    for (const refusal of refusals) assert.equal(refusal instanceof OwnerFailure && refusal.code, 'in-use')
  })

  test('lock: fifty that take over from a dead owner at once, one gets it', async (t) => {
    const folder = publicFolder(t)
    const dead = spawn(process.execPath, ['-e', ''])
    await once(dead, 'exit')
    writeClaim(folder, { pid: dead.pid, startMark: '1', space: await pidSpace() })
    const outcomes = await Promise.allSettled(Array.from({ length: 50 }, () => takeOwnerLock(folder)))
    const winners = outcomes.filter((outcome) => outcome.status === 'fulfilled')
    assert.equal(winners.length, 1)
    await winners[0]?.value.release()
  })

  test('lock: the pid of a dead owner that another program has got does not keep it', async (t) => {
    const folder = publicFolder(t)
    writeClaim(folder, { pid: process.ppid, startMark: '1', space: await pidSpace() })
    const lock = await takeOwnerLock(folder)
    await assert.rejects(takeOwnerLock(folder), { code: 'in-use' })
    await lock.release()
    await (await takeOwnerLock(folder)).release()
    assert.equal(readdirSync(folder).length, 1)
  })

  test('lock: an empty file, left by a process killed while it wrote, does not keep it', async (t) => {
    const folder = publicFolder(t)
    writeFileSync(join(folder, 'owner.7.lock'), '')
    const lock = await takeOwnerLock(folder)
    await lock.release()
  })

  test('lock: an owner in another container keeps it as long as it shows signs of life', async (t) => {
    const folder = publicFolder(t)
    const path = writeClaim(folder, { pid: 1, startMark: '1', space: 'another container' })
    const beat = setInterval(() => utimesSync(path, new Date(), new Date()), 1_000)
    await assert.rejects(takeOwnerLock(folder), { code: 'in-use', message: /another machine or container/ })
    clearInterval(beat)
    const lock = await takeOwnerLock(folder)
    await lock.release()
  })
})

function writeClaim(folder: string, claim: object): string {
  const path = join(folder, 'owner.1.lock')
  writeFileSync(path, JSON.stringify({ ...claim, released: false }))
  return path
}
