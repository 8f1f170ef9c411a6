import type { JsonObject } from '../../../../schemas/common.ts'
import type { Check } from '../../check.ts'
import type { Sent } from '../../exchange.ts'
import { expectStatus } from '../../expect.ts'
import type { Resource } from '../../polling.ts'
import type { Subject } from '../../subject.ts'
import type { Target } from '../../target.ts'
import { unless } from '../skips.ts'

/** A request with a body, and what it is about. */
interface Asked {
  readonly request: Sent
  readonly about: Resource
}

interface Verb {
  readonly section: string
  readonly noun: string
  readonly skip: (target: Target) => string | undefined
  /** The mandatory fields of the body. */
  readonly mandatory: readonly string[]
  /** Fields by the type they must have. */
  readonly types: Readonly<Record<string, 'text' | 'object'>>
  ask(subject: Subject): Promise<Asked>
}

const verbs: Readonly<Record<string, Verb>> = {
  provision: {
    section: 'Provisioning',
    noun: 'a provision',
    skip: () => undefined,
    mandatory: ['service_id', 'plan_id', 'organization_guid', 'space_guid'],
    types: {
      service_id: 'text',
      plan_id: 'text',
      organization_guid: 'text',
      space_guid: 'text',
      context: 'object',
      maintenance_info: 'object'
    },
    async ask(subject) {
      const id = subject.newInstanceId()
      return { request: subject.provisionRequest({ id }), about: { instanceId: id } }
    }
  },
  update: {
    section: 'Updating a Service Instance',
    noun: 'an update',
    skip: () => undefined,
    mandatory: ['service_id'],
    types: { service_id: 'text', plan_id: 'text', context: 'object', maintenance_info: 'object' },
    async ask(subject) {
      const instance = await subject.shared()
      return { request: subject.updateRequest(instance, {}), about: { instanceId: instance.id } }
    }
  },
  bind: {
    section: 'Binding',
    noun: 'a bind',
    skip: unless.bindable,
    mandatory: ['service_id', 'plan_id'],
    types: { service_id: 'text', plan_id: 'text', context: 'object', bind_resource: 'object' },
    async ask(subject) {
      const instance = await subject.shared()
      const id = subject.newBindingId(instance)
      const about = { instanceId: instance.id, bindingId: id }
      return { request: subject.bindRequest(instance, { id }), about }
    }
  }
}

const WRONG = { text: [5, true, {}, ['a']], object: ['text', 5, ['a']] } as const

/** Bodies that are no JSON object. */
const NO_OBJECTS = ['', '{', '{"service_id":', 'null', '[]', '"text"', '5', 'true', '{"a":1}trailing', "{'a':1}"]

/** Bodies that programs stumble over: each may be refused, or taken for what it is, but never break the broker. */
const STUMBLES = [
  `${'{"a":'.repeat(5_000)}1${'}'.repeat(5_000)}`,
  `{"parameters":${'['.repeat(10_000)}${']'.repeat(10_000)}}`,
  '{"__proto__":{"a":1},"constructor":{"prototype":{"b":2}}}',
  '{"service_id":"\\ud800","plan_id":"\\u0000"}',
  `{"service_id":"${'x'.repeat(100_000)}"}`,
  '{"service_id":1e999}'
]

async function refuse(subject: Subject, verb: Verb, why: string, body: JsonObject | string): Promise<void> {
  const { request, about } = await verb.ask(subject)
  await subject.refused({ ...request, body }, { status: 400, why: `${verb.noun} ${why}`, about })
}

/** The body of a good request, with one field replaced. */
async function bodyOf(subject: Subject, verb: Verb, field: string, value: unknown): Promise<JsonObject> {
  const { request } = await verb.ask(subject)
  return { ...(request.body as JsonObject), [field]: value }
}

export const malformedChecks: readonly Check[] = Object.entries(verbs).flatMap(([name, verb]): Check[] => {
  const { section, noun, skip, mandatory, types } = verb
  return [
    ...mandatory.map(
      (field): Check => ({
        id: `${name}/missing-${field.replaceAll('_', '-')}-answers-400`,
        section,
        level: 'MUST',
        rule: `400 when ${field} is missing.`,
        skip,
        async run(subject) {
          await refuse(subject, verb, `without ${field}`, await bodyOf(subject, verb, field, undefined))
        }
      })
    ),
    {
      id: `${name}/empty-ids-answer-400`,
      section,
      level: 'MUST',
      rule: `400 when ${mandatory.join(' or ')} is empty.`,
      skip,
      async run(subject) {
        for (const field of mandatory) {
          await refuse(subject, verb, `with an empty ${field}`, await bodyOf(subject, verb, field, ''))
        }
      }
    },
    {
      id: `${name}/wrong-types-answer-400`,
      section,
      level: 'MUST',
      rule: '400 when a field has another type than the specification says.',
      skip,
      async run(subject) {
        for (const [field, type] of Object.entries(types)) {
          for (const value of WRONG[type]) {
            const why = `with ${field}: ${JSON.stringify(value)}`
            await refuse(subject, verb, why, await bodyOf(subject, verb, field, value))
          }
        }
      }
    },
    {
      id: `${name}/no-object-answers-400`,
      section,
      level: 'MUST',
      rule: '400 when the body is no JSON object.',
      skip,
      async run(subject) {
        for (const body of NO_OBJECTS) await refuse(subject, verb, `with the body ${JSON.stringify(body)}`, body)
      }
    },
    {
      id: `${name}/strange-bodies-are-refused`,
      section: 'Service Broker Errors',
      level: 'SHOULD',
      rule: `${noun} whose body is strange is refused, and never 5xx.`,
      skip,
      async run(subject) {
        for (const body of STUMBLES) {
          const { request } = await verb.ask(subject)
          const answer = await subject.send({ ...request, body })
          expectStatus(answer, [400, 413, 422], `${noun} with ${body.length} characters of strange JSON`)
        }
      }
    }
  ]
})
