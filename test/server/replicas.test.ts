import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Measures } from '../chaos/measures.ts'
import { openScene, type Scene } from '../chaos/scene.ts'

describe('three replicas on one database', () => {
  let scene: Scene
  let measures: Measures

  before(async () => {
    scene = await openScene(3, { fsync: 'off' })
    measures = await Measures.open(scene)
  })

  after(async () => {
    await measures.close()
    await scene.close({ keep: false })
  })

  test('kill -9 of the worker: another takes over within 15 s, polls see nothing of it', async () => {
    const { sample, seen, attempts } = await measures.takeover()
    assert.ok(sample < 15_000, `took ${sample} ms`)
    assert.deepEqual([...seen], ['in progress'])
    assert.equal(attempts, 2)
  })

  test('DELETE at another replica: the create has let go within a second', async () => {
    const sample = await measures.cancel()
    assert.ok(sample < 1_000, `took ${sample} ms`)
  })

  test('SIGSTOP past the lease: the thawed worker changes nothing', async () => {
    const { before: finished, after: thawed, log } = await measures.freeze()
    assert.deepEqual(thawed, finished)
    assert.ok(await log.logged('was halted or taken over'))
  })

  test('SIGTERM: each exits within 10 s', async () => {
    for (const replica of scene.replicas) {
      const took = await replica.end('SIGTERM')
      assert.ok(took < 10_000, `took ${took} ms`)
    }
  })
})
