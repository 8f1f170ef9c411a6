import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Unavailable } from '../../../src/core/provider.ts'
import { headers, provisionBody } from '../../helper/app.ts'
import { gate, ScriptedProvider, until } from '../../helper/scripted-provider.ts'
import { type Line, replica } from './setup.ts'

const instance = '/v2/service_instances/i-1'
const put = { method: 'PUT', url: instance, headers, payload: provisionBody() } as const

function messageOf(line: Line | undefined): string {
  const err = line?.err
  return typeof err === 'object' && err !== null && 'message' in err ? String(err.message) : ''
}

describe('start of providers', { concurrency: true }, () => {
  test('start: a provider that is unavailable starts later, requests answer 503 until then, others start once', async (t) => {
    let there = false
    let starts = 0
    let otherStarts = 0
    const slow = gate()
    const away = Object.assign(new ScriptedProvider(), {
      start: async () => {
        starts += 1
        if (!there) throw new Unavailable('Its server does not answer.')
      }
    })
    const other = Object.assign(new ScriptedProvider(), {
      name: 'other',
      start: () => {
        otherStarts += 1
        return slow.opened
      }
    })
    const { app, lines } = await replica(t, { providers: [away, other] })
    const during = await app.inject(put)
    assert.deepEqual([during.statusCode, during.json()], [503, { description: 'The broker is starting.' }])
    assert.match(String(during.headers['retry-after']), /^\d+$/)
    assert.equal((await app.inject({ url: '/readyz' })).statusCode, 503)
    assert.equal((await app.inject({ url: '/v2/catalog', headers })).statusCode, 200)
    const [failure] = lines.filter(({ level }) => level === 50)
    assert.equal(failure?.msg, 'the broker cannot start yet; requests are answered 503 until it can')
    assert.match(messageOf(failure), /^The provider "example" cannot start: Its server does not answer\./)

    await until('it is started again', () => starts > 1)
    assert.equal((await app.inject(put)).statusCode, 503)
    there = true
    slow.open()
    await until('the broker is ready', async () => (await app.inject({ url: '/readyz' })).statusCode === 200)
    const reply = await app.inject(put)
    assert.equal(reply.statusCode, 201, reply.body)
    assert.deepEqual(away.calls, ['provision'])
    assert.equal(otherStarts, 1)
  })

  test('start: a provider that is unavailable first and then fails ends the start, and that is reported', async (t) => {
    const failed = Promise.withResolvers<unknown>()
    let starts = 0
    const provider = Object.assign(new ScriptedProvider(), {
      start: async () => {
        starts += 1
        throw starts === 1
          ? new Unavailable('Its server does not answer.')
          : new Error('Its server has another version.')
      }
    })
    const { app, lines } = await replica(t, { providers: [provider], onStartFailure: failed.resolve })
    await until('the failure is logged', () => lines.some(({ level }) => level === 60))
    assert.match(String(await failed.promise), /Its server has another version/)
    const fatal = lines.filter(({ level }) => level === 60)
    assert.deepEqual(
      fatal.map(({ msg }) => msg),
      ['the broker cannot start; requests are answered 503']
    )
    assert.equal((await app.inject(put)).statusCode, 503)
    assert.equal(starts, 2)
  })

  test('start: a host that catches the error of a provider lives on', async (t) => {
    const unhandled: unknown[] = []
    const note = (reason: unknown) => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    t.after(() => process.off('unhandledRejection', note))
    const provider = Object.assign(new ScriptedProvider(), {
      start: async () => {
        // Later than the turn in which the broker starts its providers.
        await new Promise(setImmediate)
        throw new Error('Its configuration is wrong.')
      }
    })
    await assert.rejects(replica(t, { providers: [provider] }), /Its configuration is wrong/)
    // The process reports unhandled rejections after the microtasks of a turn.
    await new Promise(setImmediate)
    assert.deepEqual(unhandled, [])
  })
})
