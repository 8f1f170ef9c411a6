import { isDeepStrictEqual } from 'node:util'
import type { JsonObject } from '../../../../schemas/common.ts'
import type { Check } from '../../check.ts'
import { expectStatus } from '../../expect.ts'
import type { Subject } from '../../subject.ts'
import type { Target } from '../../target.ts'
import { unless } from '../skips.ts'

const section = 'Provisioning'

/** The shared instance provisioned once more, with something else in the body that must not matter. */
function identical(more: (target: Target) => JsonObject) {
  return async (subject: Subject) => {
    const { id } = await subject.shared()
    const again = await subject.putInstance({ id, body: more(subject.target) })
    expectStatus(again, 200, 'the same provision once more')
  }
}

/** The shared instance provisioned with other attributes. */
function conflicting(more: (target: Target) => JsonObject) {
  return async (subject: Subject) => {
    const { id } = await subject.shared()
    await subject.refused(subject.provisionRequest({ id, body: more(subject.target) }), {
      status: 409,
      why: 'a provision of the same id with other attributes',
      about: { instanceId: id }
    })
  }
}

/** A provision that names something that is not in the catalog, or not there. */
function impossible(why: string, more: (target: Target) => JsonObject) {
  return async (subject: Subject) => {
    const id = subject.newInstanceId()
    await subject.refused(subject.provisionRequest({ id, body: more(subject.target) }), {
      status: [400, 404, 422],
      why,
      about: { instanceId: id }
    })
  }
}

/** Parameters that the plan accepts and that are not those of the shared instance. */
function otherParameters({ examples: { create }, createParameters = {} }: Target): JsonObject | undefined {
  return [create?.full, create?.other].find(
    (parameters) => parameters !== undefined && !isDeepStrictEqual(parameters, createParameters)
  )
}

export const provisioningChecks: readonly Check[] = [
  {
    id: 'provision/new-answers-201-or-202',
    section,
    level: 'MUST',
    rule: '201 for an instance made by the request, 202 for one that is being made.',
    async run(subject) {
      expectStatus((await subject.shared()).created, [201, 202], 'a provision of a new instance')
    }
  },
  {
    id: 'provision/identical-answers-200',
    section,
    level: 'SHOULD',
    rule: '200 for an instance that exists, is fully provisioned, and whose parameters are identical.',
    run: identical(() => ({}))
  },
  {
    id: 'provision/context-is-no-attribute',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'A retry differs in its context; it is identical all the same.',
    run: identical(() => ({ context: { platform: 'conformance', instance_name: 'renamed' } }))
  },
  {
    id: 'provision/unknown-fields-are-no-attributes',
    section: 'Vendor Extension Fields',
    level: 'MUST',
    rule: 'Unknown fields are ignored, in a retry too.',
    run: identical(() => ({ 'conformance-extension': { a: [1, 'two', null] } }))
  },
  {
    id: 'provision/empty-parameters-are-absent-ones',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'parameters: {} is the same as no parameters.',
    skip: ({ createParameters }) => (createParameters === undefined ? undefined : 'the plan needs parameters'),
    run: identical(() => ({ parameters: {} }))
  },
  {
    id: 'provision/other-plan-answers-409',
    section,
    level: 'MUST',
    rule: '409 when an instance with the same id exists but with different attributes: the plan.',
    skip: ({ otherPlans }) => (otherPlans.length > 0 ? undefined : 'the offering has one plan only'),
    run: conflicting(({ otherPlans }) => ({ plan_id: otherPlans[0]?.id }))
  },
  {
    id: 'provision/other-offering-answers-409',
    section,
    level: 'MUST',
    rule: '409 when an instance with the same id exists but with different attributes: the offering.',
    skip: unless.otherService,
    run: conflicting(({ otherService }) => ({
      service_id: otherService?.id,
      plan_id: otherService?.plans[0]?.id,
      parameters: undefined
    }))
  },
  {
    id: 'provision/other-parameters-answer-409',
    section,
    level: 'MUST',
    rule: '409 when an instance with the same id exists but with different attributes: the parameters.',
    skip: (target) =>
      otherParameters(target) === undefined ? 'the plan has no schema to make other parameters of' : undefined,
    run: conflicting((target) => ({ parameters: otherParameters(target) }))
  },
  {
    id: 'provision/other-organization-answers-409',
    section,
    level: 'SHOULD',
    rule: '409 when an instance with the same id exists but with different attributes: the organization.',
    run: conflicting(() => ({ organization_guid: 'another-organization' }))
  },
  {
    id: 'provision/other-space-answers-409',
    section,
    level: 'SHOULD',
    rule: '409 when an instance with the same id exists but with different attributes: the space.',
    run: conflicting(() => ({ space_guid: 'another-space' }))
  },
  {
    id: 'provision/unknown-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'service_id MUST be the id of an offering of the catalog.',
    run: impossible('a provision of an unknown offering', () => ({ service_id: 'conformance-unknown' }))
  },
  {
    id: 'provision/unknown-plan-is-refused',
    section,
    level: 'MUST',
    rule: 'plan_id MUST be the id of a plan of the offering.',
    run: impossible('a provision of an unknown plan', () => ({ plan_id: 'conformance-unknown' }))
  },
  {
    id: 'provision/plan-of-another-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'plan_id MUST be the id of a plan of the offering that is requested.',
    skip: unless.otherService,
    run: impossible('a provision of a plan of another offering', ({ otherService }) => ({
      plan_id: otherService?.plans[0]?.id
    }))
  }
]
