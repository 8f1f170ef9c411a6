import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'

const log = join(import.meta.dirname, '../src/log.ts')

/** What a program writes to its standard output that logs as the server does; and how it ended. */
async function outputOf(program: string) {
  const source = `
    const { loggerOptions } = await import(${JSON.stringify(log)})
    const { default: Fastify } = await import('fastify')
    const { log } = Fastify({ logger: await loggerOptions({ LOG_FORMAT: 'json', LOG_LEVEL: 'info' }, false) })
    ${program}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'ignore'],
    cwd: import.meta.dirname
  })
  const [output, [code]] = await Promise.all([buffer(child.stdout), once(child, 'exit')])
  const messages = output
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).msg)
  return { messages, code }
}

const all = Array.from({ length: 500 }, (_, index) => `line ${index}`)
const writeAll = 'for (let index = 0; index < 500; index += 1) log.info("line " + index)'

test('log: every line is written, in its order, however the process ends', async () => {
  for (const [end, expected] of [
    ['', 0],
    ['process.exit(3)', 3],
    ["throw new Error('unexpected')", 1],
    ["setImmediate(() => { throw new Error('unexpected') })", 1]
  ] as const) {
    const { messages, code } = await outputOf(`${writeAll}\n${end}`)
    assert.deepEqual([messages, code], [all, expected], end)
  }
})

test('log: the lines of one turn are written at its end, and those of a long one before', async () => {
  const { messages } = await outputOf(`
    const { writeSync } = await import('node:fs')
    const mark = (msg) => writeSync(1, JSON.stringify({ msg }) + '\\n')
    log.info('first')
    mark('still in the first turn')
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)))
    mark('after it')
    log.info('x'.repeat(70_000))
    mark('after much')`)
  assert.deepEqual(
    messages.map((message) => message.slice(0, 30)),
    ['still in the first turn', 'first', 'after it', 'x'.repeat(30), 'after much']
  )
})
