import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import fc, { type Arbitrary } from 'fast-check'
import { headers } from '../helper/app.ts'
import { attempts, type Extent, type Part } from './part.ts'

/** What is written on one connection, piece by piece, and how it ends. */
interface Talk {
  readonly pieces: readonly string[]
  readonly pauseMs: number
  readonly end: 'wait' | 'half-close' | 'close' | 'reset'
}

const LANES = 25
/** So long without a word, and nothing more will come: the broker's own patience is longer than ours. */
const SILENCE_MS = 80
const REFUSED_OR_SERVED = new Set([
  100, 200, 201, 202, 304, 400, 401, 404, 405, 408, 409, 410, 412, 413, 415, 417, 422, 431
])

const body = '{"service_id":"service-1","plan_id":"plan-sync","organization_guid":"o","space_guid":"s"}'
const USUAL = `Host: broker\r\nAuthorization: ${headers.authorization}\r\nX-Broker-API-Version: 2.17\r\n`
const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`
const startLines = fc.constantFrom(
  ...['GET /healthz HTTP/1.1', 'GET /v2/catalog HTTP/1.1', 'PUT /v2/service_instances/w HTTP/1.1', 'GET / HTTP/1.0'],
  ...[
    'PUT /v2/service_instances/w HTTP/1.1',
    'DELETE /v2/service_instances/w?service_id=a&plan_id=b HTTP/1.1',
    'get / HTTP/1.1'
  ],
  ...[
    'GET http://other/healthz HTTP/1.1',
    'GET //healthz HTTP/1.1',
    'OPTIONS * HTTP/1.1',
    'CONNECT a:1 HTTP/1.1',
    'GET'
  ],
  ...[
    'GET /%0d%0aX:%20y HTTP/1.1',
    'GET /a\r\nX: y HTTP/1.1',
    'GET  / HTTP/1.1',
    'GET / HTTP/9.9',
    'GET /\x00 HTTP/1.1'
  ],
  ...[
    'PRI * HTTP/2.0',
    '\x16\x03\x01',
    '',
    `GET /${'x'.repeat(17_000)} HTTP/1.1`,
    'TRACE / HTTP/1.1',
    'GET /\xff HTTP/1.1'
  ]
)
const fields = fc.constantFrom(
  ...[
    'Host: broker',
    'Host: broker',
    'Host: broker',
    'Host: a\r\nHost: b',
    'Host:',
    'Host: a b',
    'X-Long: '.padEnd(9_000, 'x')
  ],
  ...[
    `Authorization: ${headers.authorization}`,
    `Authorization: ${headers.authorization}`,
    'X-Broker-API-Version: 2.17'
  ],
  ...[
    'X-Broker-API-Version: 2.17',
    'Content-Type: application/json',
    'Connection: close',
    'Connection: keep-alive, upgrade'
  ],
  ...[
    'Upgrade: websocket',
    'Expect: 100-continue',
    'Expect: x',
    'A : b',
    ' A: b',
    ': b',
    'A',
    'A:\rb',
    'A: \x00',
    'A: b\n c'
  ],
  ...[
    'X-Broker-API-Request-Identity: a\r\nSet-Cookie: b',
    'Keep-Alive: timeout=0',
    'Trailer: X',
    'A: \xff',
    'a:b\r\n'.repeat(150)
  ]
)
const bodies = fc.constantFrom(
  ...['\r\n', '\r\n', `Content-Length: ${body.length}\r\n\r\n${body}`, `Content-Length: ${body.length}\r\n\r\n${body}`],
  ...[
    'Content-Length: 5\r\n\r\n{}',
    'Content-Length: 1\r\n\r\n{}',
    'Content-Length: -1\r\n\r\n',
    'Content-Length: 1e3\r\n\r\n'
  ],
  ...[
    'Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}',
    'Content-Length: 99999999999999999999\r\n\r\n',
    'Content-Length:\r\n\r\n'
  ],
  ...['Content-Length: 2000000\r\n\r\n', `Transfer-Encoding: chunked\r\n\r\n${chunk(body)}0\r\n\r\n`, '\n', ''],
  ...[
    'Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n',
    'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'
  ],
  ...[
    'Transfer-Encoding: chunked\r\n\r\nzz\r\n',
    'Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n',
    'Transfer-Encoding: x\r\n\r\n'
  ],
  ...[
    'Transfer-Encoding: chunked\r\n\r\n-1\r\n',
    `Transfer-Encoding: chunked\r\n\r\n1;${'x'.repeat(20_000)}\r\n{`,
    'Transfer-Encoding:\r\n\r\n'
  ],
  ...[`Transfer-Encoding: chunked\r\n\r\n${chunk(body)}0\r\nX: y\r\n\r\n`, 'Transfer-Encoding: chunked\r\n\r\n5\r\n{}']
)

const message = fc
  .record({
    startLine: startLines,
    usual: fc.constantFrom('', USUAL),
    fields: fc.array(fields, { maxLength: 3 }),
    body: bodies
  })
  .map(
    (parts) =>
      `${parts.startLine}\r\n${parts.usual}${parts.fields.map((field) => `${field}\r\n`).join('')}${parts.body}`
  )
/** One message, several in one packet, one in pieces, or no message at all. */
const pieces: Arbitrary<string[]> = fc.oneof(
  { weight: 6, arbitrary: message.map((text) => [text]) },
  { weight: 2, arbitrary: fc.array(message, { minLength: 2, maxLength: 4 }).map((all) => [all.join('')]) },
  { weight: 2, arbitrary: fc.tuple(message, fc.integer({ min: 1, max: 60 })).map(([text, size]) => cut(text, size)) },
  { weight: 1, arbitrary: fc.tuple(message, fc.nat({ max: 200 })).map(([text, length]) => [text.slice(0, length)]) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => [Buffer.from(bytes).toString('latin1')]) }
)
const talks: Arbitrary<Talk> = fc.record({
  pieces,
  pauseMs: fc.constantFrom(0, 0, 0, 1, 5),
  end: fc.constantFrom('wait', 'wait', 'half-close', 'close', 'reset')
})

/** Bytes on sockets: requests that are none, slow ones, and connections that break. */
export async function wire(url: string, { requests: count, seed, path }: Extent): Promise<Part> {
  const answers = new Map<string, number>()
  let sent = 0
  const property = fc.asyncProperty(
    fc.array(talks, { minLength: 1, maxLength: LANES, size: 'max' }),
    attempts(async (all: Talk[]) => {
      sent += all.length
      await Promise.all(
        all.map(async (talk) => {
          for (const status of statusesIn(await exchange(url, talk))) {
            const key = `wire ${status}`
            answers.set(key, (answers.get(key) ?? 0) + 1)
          }
        })
      )
    })
  )
  const numRuns = path === undefined ? Math.ceil(count / (LANES / 2)) : 1
  const details = await fc.check(property, { seed, numRuns, ...(path === undefined ? {} : { path }) })
  if (!details.failed) return { seed, sent, answers }
  const [all = []] = details.counterexample ?? []
  const message = details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance)
  const example = all.map((talk) => JSON.stringify(talk).slice(0, 1_000))
  return { seed, sent, answers, failure: { path: details.counterexamplePath ?? '', message, example } }
}

/** Says its piece, and listens until the connection is closed or nothing more comes. */
async function exchange(url: string, { pieces, pauseMs, end }: Talk): Promise<string> {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  let said = ''
  let closed = false
  let heard = performance.now()
  socket.setEncoding('latin1').on('data', (text: string) => {
    said += text
    heard = performance.now()
  })
  // Of a broker that does not read on, a reset is as good an answer.
  socket.on('error', () => socket.destroy())
  socket.on('close', () => {
    closed = true
  })
  await once(socket, 'connect')
  for (const piece of pieces) {
    if (closed) break
    socket.write(Buffer.from(piece, 'latin1'))
    if (pauseMs > 0) await delay(pauseMs)
  }
  if (end === 'half-close') socket.end()
  heard = performance.now()
  while ((end === 'wait' || end === 'half-close') && !closed && performance.now() - heard < SILENCE_MS) await delay(5)
  if (end === 'reset') socket.resetAndDestroy()
  else socket.destroy()
  return said
}

/** @throws {Error} for bytes that are no answers, and for answers that are none of ours */
function statusesIn(text: string): number[] {
  const statuses: number[] = []
  for (let rest = text; rest !== ''; ) {
    const end = rest.indexOf('\r\n\r\n')
    // We may have left before the end of it.
    if (end < 0) return statuses
    const head = rest.slice(0, end)
    const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(head)?.[1])
    if (!REFUSED_OR_SERVED.has(status))
      throw new Error(`an answer that begins with ${JSON.stringify(rest.slice(0, 200))}`)
    const length = Number(/\r\ncontent-length: (\d+)/i.exec(head)?.[1] ?? 0)
    const body = rest.slice(end + 4, end + 4 + length)
    if (status !== 100 && status !== 304) requireJson(head, body, length)
    statuses.push(status)
    rest = rest.slice(end + 4 + length)
  }
  return statuses
}

function requireJson(head: string, body: string, length: number): void {
  if (!/\r\ncontent-type: application\/json/i.test(head)) throw new Error(`an answer that is no JSON: ${head}`)
  if (length === 0) throw new Error(`an answer without a body: ${head}`)
  if (body.length === length && typeof JSON.parse(Buffer.from(body, 'latin1').toString('utf8')) !== 'object') {
    throw new Error(`an answer that is no object: ${head}\n${body}`)
  }
}

function cut(text: string, size: number): string[] {
  return Array.from({ length: Math.min(40, Math.ceil(text.length / size)) }, (_, index) =>
    text.slice(index * size, index === 39 ? undefined : (index + 1) * size)
  )
}
