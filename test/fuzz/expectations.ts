import { Value } from '@sinclair/typebox/value'
import { endpointOf } from '../../src/client/endpoint.ts'
import { answerSchemas, errorSchema } from '../../src/conformance/answer-schemas.ts'
import type { FuzzAnswer } from './client.ts'
import type { FuzzRequest } from './requests.ts'

/** The refusals that there are; a 5xx is none. */
const REFUSALS = new Set([400, 401, 404, 405, 408, 409, 410, 412, 413, 415, 417, 422, 431])
/** Of these, the broker is not asked. */
const BY_THE_SERVER = new Set([408, 417, 431])
/** Platforms take no longer descriptions. */
const MAX_ERROR_BYTES = 8_192

/** What an answer to a request has in it that no answer may have; nothing, mostly. */
export function violationOf(request: FuzzRequest, answer: FuzzAnswer): string | undefined {
  const { status, headers, body } = answer
  if (status >= 500) return `${status} ${body}`
  if (request.method === 'HEAD' || status === 304)
    return body === '' ? undefined : `a body with ${request.method} ${status}`
  if (!/^application\/json(?:;|$)/.test(headers['content-type'] ?? '')) {
    return `${status} with the content type ${headers['content-type']}`
  }
  const echoed = request.headers['x-broker-api-request-identity']
  if (echoed === 'fuzz' && headers['x-broker-api-request-identity'] !== echoed && !BY_THE_SERVER.has(status)) {
    return `${status} without the request identity`
  }
  const value = parse(body)
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return `${status} with no JSON object: ${body}`
  return status < 300 ? faultOfSuccess(request, status, value) : faultOfRefusal(status, value, body)
}

function faultOfSuccess({ method, path }: FuzzRequest, status: number, value: object): string | undefined {
  const endpoint = endpointOf(method, path.split('?')[0] ?? '')
  if (endpoint === 'catalog') return status === 200 && 'services' in value ? undefined : `a catalog with ${status}`
  const schema = answerSchemas[endpoint]?.[status]
  if (schema === undefined) return `${status}, which ${method} ${path} (${endpoint}) cannot be answered`
  const [fault] = [...Value.Errors(schema, value)]
  return fault && `${status} with a body that ${endpoint} cannot have: ${fault.path} ${fault.message}`
}

function faultOfRefusal(status: number, value: object, body: string): string | undefined {
  if (!REFUSALS.has(status)) return `the status ${status}`
  if (!('description' in value)) return `${status} without a description: ${body}`
  if (Buffer.byteLength(body) >= MAX_ERROR_BYTES) return `${status} with ${Buffer.byteLength(body)} bytes`
  const [fault] = [...Value.Errors(errorSchema, value)]
  return fault && `${status} with a body that no error can have: ${fault.path} ${fault.message}`
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
