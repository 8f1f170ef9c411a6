import type { JsonObject } from '../../../../schemas/common.ts'
import { type Check, NotApplicable } from '../../check.ts'
import type { Exchange } from '../../exchange.ts'
import { expectError, expectSame, expectStatus, expectThat } from '../../expect.ts'
import type { Subject } from '../../subject.ts'
import type { Target } from '../../target.ts'
import { anyOf, unless } from '../skips.ts'

const section = 'Binding'
const skip = unless.bindable

/** A bind of the shared instance that must be refused. */
function impossible(status: readonly number[], why: string, body: (target: Target) => JsonObject) {
  return async (subject: Subject) => {
    const instance = await subject.shared()
    const id = subject.newBindingId(instance)
    const about = { instanceId: instance.id, bindingId: id }
    await subject.refused(subject.bindRequest(instance, { id, body: body(subject.target) }), { status, why, about })
  }
}

/** The shared binding once more with other attributes. */
function conflicting(body: (target: Target) => JsonObject) {
  return async (subject: Subject) => {
    const { id, instance } = await subject.sharedBinding()
    await subject.refused(subject.bindRequest(instance, { id, body: body(subject.target) }), {
      status: 409,
      why: 'a bind of the same id with other attributes',
      about: { instanceId: instance.id, bindingId: id }
    })
  }
}

const GIVEN = ['credentials', 'syslog_drain_url', 'route_service_url', 'volume_mounts']

/** A log drain, a route or volumes may stand in for credentials (spec: Types of Binding). */
function expectGiven({ body }: Exchange): void {
  const given = GIVEN.filter((field) => body[field] !== undefined && body[field] !== null)
  expectThat(given.length > 0, `the answer has none of ${GIVEN.join(', ')}`)
}

export const bindingCreationChecks: readonly Check[] = [
  {
    id: 'bind/new-answers-201-or-202',
    section,
    level: 'MUST',
    rule: '201 for a binding made by the request, 202 for one that is being made.',
    skip,
    async run(subject) {
      expectStatus((await subject.sharedBinding()).created, [201, 202], 'a bind of a new binding')
    }
  },
  {
    id: 'bind/sync-or-async-required',
    section,
    level: 'MUST',
    rule: 'Without accepts_incomplete a bind is complete when it is answered, or refused with AsyncRequired.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const answer = await subject.putBinding(instance, { manner: 'sync' })
      expectStatus(answer, [201, 422], 'a bind without accepts_incomplete')
      if (answer.status === 422) expectError(answer, 'AsyncRequired')
    }
  },
  {
    id: 'bind/sync-gives-something',
    section,
    level: 'MUST',
    rule: 'Where credentials are supported they are returned with 201.',
    skip,
    async run(subject) {
      const answer = await subject.putBinding(await subject.shared(), { manner: 'sync' })
      if (answer.status !== 201) throw new NotApplicable('the plan is bound later')
      expectGiven(answer)
    }
  },
  {
    id: 'bind/gives-something',
    section,
    level: 'MUST',
    rule: 'The information of a binding is returned at least once: with 201, or when it is first fetched.',
    skip,
    async run(subject) {
      const binding = await subject.bind(await subject.shared())
      const { created } = binding
      const answer = created.status === 201 ? created : await subject.getBinding(binding)
      expectGiven(answer)
    }
  },
  {
    id: 'bind/accepted-can-be-fetched',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'A bind is answered 202 only where the offering declares bindings_retrievable.',
    skip: ({ bindable, bindingsRetrievable }) =>
      bindable && !bindingsRetrievable ? undefined : 'bindings can be fetched, or there are none',
    async run(subject) {
      expectStatus((await subject.sharedBinding()).created, 201, 'a bind whose binding cannot be fetched')
    }
  },
  {
    id: 'bind/identical-answers-200',
    section,
    level: 'SHOULD',
    rule: '200 for a binding that exists and whose parameters are identical.',
    skip,
    async run(subject) {
      const { id, instance, created } = await subject.sharedBinding()
      const again = await subject.putBinding(instance, { id })
      expectStatus(again, 200, 'the same bind once more')
      const [first, second] = [created.body.credentials, again.body.credentials]
      if (first !== undefined && second !== undefined) expectSame(second, first, 'credentials of the second answer')
    }
  },
  {
    id: 'bind/context-is-no-attribute',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'A retry differs in its context; it is identical all the same.',
    skip,
    async run(subject) {
      const { id, instance } = await subject.sharedBinding()
      const body = { context: { platform: 'conformance', app_name: 'renamed' } }
      expectStatus(await subject.putBinding(instance, { id, body }), 200, 'the same bind with another context')
    }
  },
  {
    id: 'bind/unknown-fields-are-no-attributes',
    section: 'Vendor Extension Fields',
    level: 'MUST',
    rule: 'Unknown fields are ignored, in a retry too.',
    skip,
    async run(subject) {
      const { id, instance } = await subject.sharedBinding()
      const body = { 'conformance-extension': [{}] }
      expectStatus(await subject.putBinding(instance, { id, body }), 200, 'the same bind with an unknown field')
    }
  },
  {
    id: 'bind/other-app-answers-409',
    section,
    level: 'SHOULD',
    rule: '409 when a binding with the same id exists but for another app.',
    skip,
    run: conflicting(() => ({ bind_resource: { app_guid: 'another-app' } }))
  },
  {
    id: 'bind/other-parameters-answer-409',
    section,
    level: 'MUST',
    rule: '409 when a binding with the same id exists but with different parameters.',
    skip: ({ bindable, examples, bindParameters }) =>
      bindable && bindParameters === undefined && Object.keys(examples.bind?.full ?? {}).length > 0
        ? undefined
        : 'the plan has no schema to make other parameters of, or is not bindable',
    run: conflicting(({ examples }) => ({ parameters: examples.bind?.full }))
  },
  {
    id: 'bind/unknown-instance-answers-404',
    section: 'Platforms',
    level: 'SHOULD',
    rule: '404, not 410, for a bind of an unknown instance: 410 starts orphan mitigation.',
    skip,
    async run(subject) {
      const instance = { id: subject.newInstanceId(), planId: subject.target.plan.id }
      const answer = await subject.putBinding(instance)
      expectStatus(answer, 404, 'a bind of an unknown instance')
    }
  },
  {
    id: 'bind/unknown-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'service_id MUST be the id of the offering that is being used.',
    skip,
    run: impossible([400, 404, 422], 'a bind that names an unknown offering', () => ({
      service_id: 'conformance-unknown'
    }))
  },
  {
    id: 'bind/unknown-plan-is-refused',
    section,
    level: 'MUST',
    rule: 'plan_id MUST be the id of the plan that is being used.',
    skip,
    run: impossible([400, 404, 422], 'a bind that names an unknown plan', () => ({ plan_id: 'conformance-unknown' }))
  },
  {
    id: 'bind/other-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'service_id MUST be the id of the offering that is being used.',
    skip: anyOf(skip, unless.otherService),
    run: impossible(
      [400, 404, 409, 422],
      "a bind that names another offering than the instance's",
      ({ otherService }) => ({
        service_id: otherService?.id,
        plan_id: otherService?.plans[0]?.id
      })
    )
  },
  {
    id: 'bind/app-is-required-with-the-code',
    section,
    level: 'MUST',
    rule: '422 RequiresApp where an app is required and none is named.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const answer = await subject.putBinding(instance, { body: { bind_resource: undefined } })
      if (answer.status < 300) throw new NotApplicable('the plan needs no app')
      expectStatus(answer, 422, 'a bind without an app')
      expectError(answer, 'RequiresApp')
    }
  },
  {
    id: 'bind/while-provisioning-is-refused',
    section: 'Blocking Operations',
    level: 'MUST',
    rule: 'A bind of an instance that is being made is refused: ConcurrencyError, or the instance is not there yet.',
    skip,
    async run(subject) {
      const id = subject.newInstanceId()
      const created = await subject.putInstance({ id })
      if (created.status !== 202) throw new NotApplicable('the plan is provisioned at once')
      const answer = await subject.putBinding({ id, planId: subject.target.plan.id })
      const poll = await subject.pollOnce({ instanceId: id })
      await subject.end(created, { instanceId: id })
      if (poll.body.state !== 'in progress') throw new NotApplicable('the provision ended too soon')
      expectStatus(answer, [404, 422], 'a bind of an instance that is being made')
      if (answer.status === 422) expectError(answer, 'ConcurrencyError')
    }
  },
  {
    id: 'bind/not-bindable-is-refused',
    section,
    level: 'SHOULD',
    rule: 'A bind of an instance whose plan is not bindable is refused.',
    skip: ({ bindable }) => (bindable ? 'the plan is bindable' : undefined),
    async run(subject) {
      const answer = await subject.putBinding(await subject.shared())
      expectThat(
        answer.status >= 400 && answer.status < 500,
        `a bind of such an instance was answered ${answer.status}`
      )
    }
  }
]
