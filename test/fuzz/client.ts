import { Agent, request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import type { FuzzRequest } from './requests.ts'

/** What came back. */
export interface FuzzAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

/** Longer than the broker may take for anything. */
const ANSWER_MS = 20_000

/** Sends requests as they are, over connections that are kept. */
export class FuzzClient {
  readonly #url: string
  readonly #agent = new Agent({ keepAlive: true })
  sent = 0

  constructor(url: string) {
    this.#url = url
  }

  /** @throws {Error} when there is no answer, in time or at all */
  async send(request: FuzzRequest): Promise<FuzzAnswer> {
    this.sent += 1
    try {
      return await this.#exchange(request, this.#agent)
    } catch (error) {
      // A connection that was kept may be closed by the server while it is used again: that says nothing.
      if (!isReset(error)) throw error
      return await this.#exchange(request, false)
    }
  }

  close(): void {
    this.#agent.destroy()
  }

  #exchange({ method, path, headers, body }: FuzzRequest, agent: Agent | false): Promise<FuzzAnswer> {
    return new Promise((resolve, reject) => {
      const { hostname, port } = new URL(this.#url)
      const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) }
      const options = { hostname, port, method, path, agent, headers: { ...headers, ...length } }
      const sent = httpRequest(options, (reply) => {
        const chunks: Buffer[] = []
        reply.on('data', (chunk: Buffer) => chunks.push(chunk))
        reply.on('error', reject)
        reply.on('end', () => {
          const text = Buffer.concat(chunks).toString('utf8')
          resolve({ status: reply.statusCode ?? 0, headers: reply.headers, body: text })
        })
      })
      sent.setTimeout(ANSWER_MS, () => sent.destroy(new Error(`no answer within ${ANSWER_MS} ms`)))
      sent.on('error', reject)
      sent.end(body)
    })
  }
}

function isReset(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
}
