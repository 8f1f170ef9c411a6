import { answerSchemas, errorSchema } from '../answer-schemas.ts'
import type { AnswerRule } from '../check.ts'
import { type Exchange, isObject } from '../exchange.ts'
import { shapeFault } from '../expect.ts'

/** Statuses that the specification names for each kind of request, and those that any server may answer. */
const REFUSED = 400
const MAX_DASHBOARD_URL = 16_000
const MAX_DESCRIPTION_BYTES = 8 * 1024

const isRefusal = ({ status }: Exchange) => status >= REFUSED
const isPoll = ({ endpoint }: Exchange) => endpoint === 'poll-instance' || endpoint === 'poll-binding'

/** What must hold for every answer of a run. */
export const answerRules: readonly AnswerRule[] = [
  {
    id: 'answers/have-their-shape',
    section: 'Service Broker Errors',
    level: 'MUST',
    rule: 'Every answer of success has the fields that the specification names, with their types, and an operation of at most 10,000 characters.',
    concerns: ({ endpoint, status }) => answerSchemas[endpoint]?.[status] !== undefined,
    fault({ endpoint, status, json }) {
      const schema = answerSchemas[endpoint]?.[status]
      return schema === undefined ? undefined : shapeFault(schema, json)
    }
  },
  {
    id: 'answers/have-known-statuses',
    section: 'Service Broker Errors',
    level: 'MUST',
    rule: 'Where the specification defines the status of an answer, that status is used: success is 200, 201 or 202.',
    concerns: ({ endpoint, status }) => endpoint !== 'other' && endpoint !== 'catalog' && status < REFUSED,
    fault: ({ endpoint, status }) =>
      answerSchemas[endpoint]?.[status] === undefined ? `the status ${status} is none of ${endpoint}` : undefined
  },
  {
    id: 'answers/errors-have-their-shape',
    section: 'Service Broker Errors',
    level: 'MUST',
    rule: 'error is one word in camel case, description a text, neither of them empty.',
    concerns: (exchange) => isRefusal(exchange) && isObject(exchange.json),
    fault: ({ json }) => shapeFault(errorSchema, json)
  },
  {
    id: 'answers/flags-belong-to-updates-and-deletes',
    section: 'Service Broker Errors',
    level: 'MUST',
    rule: 'instance_usable belongs to failed updates and deprovisions alone, update_repeatable to failed updates.',
    concerns: (exchange) => isRefusal(exchange) && exchange.endpoint !== 'other' && !isPoll(exchange),
    fault({ endpoint, body }) {
      const usable = endpoint !== 'update' && endpoint !== 'deprovision' && body.instance_usable !== undefined
      const repeatable = endpoint !== 'update' && body.update_repeatable !== undefined
      return usable || repeatable ? 'the answer carries a flag that does not belong to it' : undefined
    }
  },
  {
    id: 'answers/no-flags-of-success',
    section: 'Polling Last Operation for Service Instances',
    level: 'MUST',
    rule: 'instance_usable and update_repeatable belong to operations that failed.',
    concerns: isPoll,
    fault: ({ body }) =>
      body.state !== 'failed' && (body.instance_usable !== undefined || body.update_repeatable !== undefined)
        ? 'an operation that has not failed carries a flag of failures'
        : undefined
  },
  {
    id: 'answers/no-server-errors',
    section: 'Service Broker Errors',
    level: 'SHOULD',
    rule: 'Nothing that a platform sends, however malformed, is answered 5xx.',
    concerns: () => true,
    fault: ({ status }) => (status >= 500 ? `the status is ${status}` : undefined)
  },
  {
    id: 'answers/content-type',
    section: 'Content Type',
    level: 'SHOULD',
    rule: 'Answers with a body have the Content-Type application/json.',
    concerns: ({ text }) => text !== '',
    fault({ headers }) {
      const type = headers['content-type'] ?? 'none'
      return /^application\/json\s*(?:;|$)/i.test(type) ? undefined : `the Content-Type is ${type}`
    }
  },
  {
    id: 'answers/json-object',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'Every answer is a JSON object, refusals and deletes included; never 204, never an empty body.',
    concerns: ({ status }) => status !== 304,
    fault: ({ json }) => (isObject(json) ? undefined : 'the body is no JSON object')
  },
  {
    id: 'answers/no-null',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'A field that has no value is left out; it is never null.',
    concerns: ({ endpoint, status }) => endpoint !== 'catalog' && status < REFUSED,
    fault({ body }) {
      const empty = Object.keys(body).filter((name) => body[name] === null)
      return empty.length === 0 ? undefined : `null in ${empty.join(', ')}`
    }
  },
  {
    id: 'answers/short-enough',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'dashboard_url has less than 16,000 characters, a description less than 8 kB.',
    concerns: ({ body }) => body.dashboard_url !== undefined || body.description !== undefined,
    fault({ body: { dashboard_url: url, description } }) {
      if (typeof url === 'string' && url.length >= MAX_DASHBOARD_URL)
        return `dashboard_url has ${url.length} characters`
      const bytes = typeof description === 'string' ? Buffer.byteLength(description) : 0
      return bytes >= MAX_DESCRIPTION_BYTES ? `the description has ${bytes} bytes` : undefined
    }
  },
  {
    id: 'answers/retry-after',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'Retry-After is a duration in whole seconds.',
    concerns: ({ headers }) => headers['retry-after'] !== undefined,
    fault: ({ headers }) =>
      /^\d+$/.test(headers['retry-after'] ?? '') ? undefined : `Retry-After is ${headers['retry-after']}`
  },
  {
    id: 'answers/request-identity',
    section: 'Request Identity',
    level: 'SHOULD',
    rule: 'The X-Broker-API-Request-Identity of the request is included in the response.',
    concerns: ({ request }) => request.headers['x-broker-api-request-identity'] !== undefined,
    fault({ request, headers }) {
      const sent = request.headers['x-broker-api-request-identity']
      const came = headers['x-broker-api-request-identity']
      return came === sent ? undefined : `sent "${sent}", got ${came === undefined ? 'none' : `"${came}"`}`
    }
  }
]
