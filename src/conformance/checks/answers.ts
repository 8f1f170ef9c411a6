import type { AnswerRule } from '../check.ts'
import { isObject } from '../exchange.ts'

/** What must hold for every answer of a run. */
export const answerRules: readonly AnswerRule[] = [
  {
    id: 'answers/json-object',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'Every answer is a JSON object, refusals and deletes included.',
    concerns: ({ status, request }) => status !== 304 && request.method !== 'HEAD',
    fault: ({ json }) => (isObject(json) ? undefined : 'the body is no JSON object')
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
