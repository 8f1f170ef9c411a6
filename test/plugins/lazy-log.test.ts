import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import { LazyLog, writes } from '../../plugins/lazy-log.ts'

/** A log of a server that keeps its lines, and counts the children that are made of it. */
function kept(level: string) {
  const lines: Record<string, unknown>[] = []
  let children = 0
  const onChild = () => {
    children += 1
  }
  const stream = { write: (line: string) => void lines.push(JSON.parse(line)) }
  const { log } = Fastify({ logger: { level, base: null, timestamp: false, onChild, stream } })
  return { log, lines, children: () => children }
}

test('lazy log: a child is made for the first line, and one alone', () => {
  const { log, lines, children } = kept('info')
  const lazy = new LazyLog(log, { reqId: 'r-1' }).child({ platform: 'cf' })
  lazy.debug('not written')
  assert.equal(children(), 0)
  lazy.info({ ms: 1 }, 'first')
  lazy.warn('second %d', 2)
  assert.equal(children(), 1)
  assert.deepEqual(lines, [
    { level: 30, reqId: 'r-1', platform: 'cf', ms: 1, msg: 'first' },
    { level: 40, reqId: 'r-1', platform: 'cf', msg: 'second 2' }
  ])
})

test('lazy log: its level is that of its options, else that of its parent, and can be set', () => {
  const { log, lines } = kept('info')
  const quiet = new LazyLog(log, {}, { level: 'error' })
  quiet.warn('not written')
  assert.deepEqual([quiet.level, writes(quiet, 'warn'), writes(quiet, 'error')], ['error', false, true])
  const loud = new LazyLog(log, {})
  assert.deepEqual([loud.level, writes(loud, 'debug')], ['info', false])
  loud.level = 'trace'
  loud.trace('written')
  assert.deepEqual([loud.level, writes(loud, 'debug')], ['trace', true])
  assert.deepEqual(lines, [{ level: 10, msg: 'written' }])
  assert.equal(log.level, 'info')
})

test('lazy log: a child with options, or of one that has written, is a child of its own', () => {
  const { log, lines } = kept('info')
  const lazy = new LazyLog(log, { reqId: 'r-1' })
  lazy.child({ a: 1 }, { level: 'debug' }).debug('written')
  lazy.child({ b: 2 }).info('after')
  assert.deepEqual(lines, [
    { level: 20, reqId: 'r-1', a: 1, msg: 'written' },
    { level: 30, reqId: 'r-1', b: 2, msg: 'after' }
  ])
})
