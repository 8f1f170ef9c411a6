import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { openServiceBroker } from '../../src/app.ts'
import type { ConnectionBounds } from '../../src/server/connections.ts'
import { guardServer } from '../../src/server/guard.ts'
import { serverOptions } from '../../src/server.ts'
import { credentials, headers, provisionBody, testCatalog } from '../helper/app.ts'
import { until } from './broker-process.ts'

interface GuardedOptions extends Partial<ConnectionBounds> {
  readonly headersMs?: number
  readonly requestMs?: number
  /** Registers more before the server listens. */
  readonly prepare?: (app: FastifyInstance) => void
}

/** A broker with the server of the process, except for shorter times. */
export async function guarded(
  t: TestContext,
  {
    max = 100,
    maxPerAddress = max * 2,
    isExempt = () => false,
    headersMs = 10_000,
    requestMs = 30_000,
    prepare = () => undefined
  }: GuardedOptions = {}
) {
  const http = {
    ...serverOptions.http,
    requireHostHeader: false,
    headersTimeout: headersMs,
    connectionsCheckingInterval: 50
  }
  const app = Fastify({ ...serverOptions, http, requestTimeout: requestMs })
  const closeUnused = guardServer(app, { max, maxPerAddress, isExempt })
  app.addHook('preClose', async () => closeUnused())
  t.after(() => app.close())
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: credentials })
  prepare(app)
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return { app, port: address.port, dial: (from?: string) => dial(t, address.port, from) }
}

/** A connection, and what came on it. */
export interface Line {
  readonly socket: Socket
  readonly said: string
  readonly closed: boolean
  send(text: string): void
  /** The answers, once the server has closed the connection. */
  answers(): Promise<Reply[]>
}

export interface Reply {
  readonly status: number
  readonly head: string
  readonly body: Record<string, unknown>
}

/** @param from a loopback address, such as 127.0.0.2 */
export async function dial(t: TestContext, port: number, from = '127.0.0.1'): Promise<Line> {
  const socket = connect({ port, host: '127.0.0.1', localAddress: from })
  t.after(() => socket.destroy())
  let said = ''
  let closed = false
  socket.setEncoding('latin1').on('data', (text) => {
    said += text
  })
  socket.on('error', () => undefined)
  socket.on('close', () => {
    closed = true
  })
  await once(socket, 'connect')
  return {
    socket,
    get said() {
      return said
    },
    get closed() {
      return closed
    },
    send: (text) => socket.write(Buffer.from(text, 'latin1')),
    async answers() {
      await until('the server closes the connection', () => closed, 10_000)
      return repliesIn(said)
    }
  }
}

export function repliesIn(text: string): Reply[] {
  const replies: Reply[] = []
  for (let rest = text; rest !== ''; ) {
    const [head = ''] = rest.split('\r\n\r\n', 1)
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
    const body = rest.slice(head.length + 4, head.length + 4 + length)
    replies.push({ status: Number(head.split(' ')[1]), head, body: body === '' ? {} : JSON.parse(body) })
    rest = rest.slice(head.length + 4 + length)
  }
  return replies
}

const platform = `Authorization: ${headers.authorization}\r\nX-Broker-API-Version: 2.17\r\n`
export const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: broker\r\n${platform}${more}\r\n`
export const put = (path: string, body: string, more = '') =>
  `PUT ${path} HTTP/1.1\r\nHost: broker\r\n${platform}Content-Length: ${body.length}\r\n${more}\r\n${body}`
export const instance = '/v2/service_instances/i-1'
export const provision = JSON.stringify(provisionBody())

/** One answer, a JSON object with a description, on a connection that is closed then. */
export async function refusedOnce(line: Line, status: number, description: RegExp): Promise<Reply> {
  const replies = await line.answers()
  const [reply] = replies
  assert.ok(reply)
  assert.deepEqual([replies.length, reply.status], [1, status], line.said)
  assert.match(reply.head, /\r\ncontent-type: application\/json/i)
  assert.match(reply.head, /\r\nconnection: close/i)
  assert.match(String(reply.body.description), description)
  return reply
}
