import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A span, as far as tests look at it. */
export interface ReceivedSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string
  readonly name: string
  readonly attributes: Readonly<Record<string, string | number | boolean>>
  /** `service.instance.id` of the process that sent it. */
  readonly process: string
}

/** Takes OTLP over HTTP, as protobuf, on a port of its own. */
export interface OtlpReceiver {
  readonly url: string
  readonly spans: readonly ReceivedSpan[]
  readonly metrics: ReadonlySet<string>
  /** All that came, byte for byte. */
  readonly bytes: () => Buffer
  /** From now on nothing is answered any more. */
  hang(): void
  close(): Promise<void>
}

export async function openOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = []
  const metrics = new Set<string>()
  const bodies: Buffer[] = []
  let hanging = false
  const server = createServer(async (request, response) => {
    const body = await bodyOf(request)
    if (hanging) return
    bodies.push(body)
    if (request.url === '/v1/traces') spans.push(...spansOf(body))
    else if (request.url === '/v1/metrics') for (const name of metricsOf(body)) metrics.add(name)
    else throw new Error(`unexpected path ${request.url}`)
    response.setHeader('content-type', 'application/x-protobuf').end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    metrics,
    bytes: () => Buffer.concat(bodies),
    hang: () => {
      hanging = true
    },
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** ExportTraceServiceRequest: resource_spans 1; ResourceSpans: resource 1, scope_spans 2; ScopeSpans: spans 2. */
function spansOf(body: Buffer): ReceivedSpan[] {
  return messages(body, 1).flatMap((resourceSpans) => {
    const [resource = Buffer.alloc(0)] = messages(resourceSpans, 1)
    const process = String(attributesOf(messages(resource, 1))['service.instance.id'])
    return messages(resourceSpans, 2).flatMap((scopeSpans) =>
      messages(scopeSpans, 2).map((span) => ({
        traceId: hex(span, 1),
        spanId: hex(span, 2),
        parentSpanId: hex(span, 4),
        name: String(messages(span, 5)[0]),
        attributes: attributesOf(messages(span, 9)),
        process
      }))
    )
  })
}

/** ExportMetricsServiceRequest: resource_metrics 1; ResourceMetrics: scope_metrics 2; ScopeMetrics: metrics 2; name 1. */
function metricsOf(body: Buffer): string[] {
  const metrics = messages(body, 1).flatMap((resource) => messages(resource, 2).flatMap((scope) => messages(scope, 2)))
  return metrics.map((metric) => String(messages(metric, 1)[0]))
}

/** KeyValue: key 1, value 2; AnyValue: string 1, bool 2, int 3. */
function attributesOf(pairs: readonly Buffer[]): Record<string, string | number | boolean> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const value = fields(messages(pair, 2)[0] ?? Buffer.alloc(0))[0]
      const decoded = value?.number === 2 ? value.value === 1n : Number(value?.value)
      return [String(messages(pair, 1)[0]), Buffer.isBuffer(value?.value) ? value.value.toString() : decoded]
    })
  )
}

function hex(message: Buffer, number: number): string {
  return messages(message, number)[0]?.toString('hex') ?? ''
}

/** The embedded messages, strings and bytes of one field. */
function messages(message: Buffer, number: number): Buffer[] {
  return fields(message).flatMap((field) =>
    field.number === number && Buffer.isBuffer(field.value) ? [field.value] : []
  )
}

interface Field {
  readonly number: number
  readonly value: Buffer | bigint
}

/** The wire format: a tag (number and type), then what the type says. */
function fields(message: Buffer): Field[] {
  const found: Field[] = []
  let at = 0
  const varint = () => {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = message.readUInt8(at)
      at += 1
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
  }
  const take = (length: number) => {
    at += length
    return message.subarray(at - length, at)
  }
  while (at < message.length) {
    const tag = Number(varint())
    const type = tag & 7
    const value = type === 0 ? varint() : take(type === 2 ? Number(varint()) : type === 1 ? 8 : 4)
    found.push({ number: tag >> 3, value })
  }
  return found
}
