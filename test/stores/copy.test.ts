import assert from 'node:assert/strict'
import { test } from 'node:test'
import { copy } from '../../src/stores/copy.ts'

test('copy: is equal at every depth, and shares nothing that can change', () => {
  const record = {
    id: 'i-1',
    at: new Date(1_000),
    gone: undefined,
    none: null,
    state: { list: [{ a: 1 }, [2, new Date(3)]], empty: {} }
  }
  const copied = copy(record)
  assert.deepEqual(copied, structuredClone(record))
  copied.at.setTime(5)
  copied.state.list.push([4])
  Object.assign(copied.state.list[0] ?? {}, { a: 9 })
  Object.assign(copied.state.empty, { b: 1 })
  assert.deepEqual(record.state, { list: [{ a: 1 }, [2, new Date(3)]], empty: {} })
  assert.equal(record.at.getTime(), 1_000)
})

test('copy: values that are no objects are themselves', () => {
  for (const value of [undefined, null, 'text', 0, false]) assert.equal(copy(value), value)
})
