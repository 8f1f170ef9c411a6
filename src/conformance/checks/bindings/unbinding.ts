import { bindingPath } from '../../../client/endpoint.ts'
import { type Check, NotApplicable, Violation } from '../../check.ts'
import { expectError, expectSame, expectStatus } from '../../expect.ts'
import type { Subject } from '../../subject.ts'
import { expectSameOperation } from '../instances/replay.ts'
import { anyOf, unless } from '../skips.ts'
import { givenBy } from './credentials.ts'

const section = 'Unbinding'
const skip = unless.bindable

/** An unbind of the shared binding whose ids are not what they have to be. */
function malformed(ids: Record<string, string | undefined>, statuses: readonly number[]) {
  return async (subject: Subject) => {
    const { id, instance } = await subject.sharedBinding()
    const query = {
      service_id: subject.target.service.id,
      plan_id: instance.planId,
      accepts_incomplete: 'true',
      ...ids
    }
    await subject.refused(
      { method: 'DELETE', path: bindingPath(instance.id, id), query },
      { status: statuses, why: 'an unbind with wrong ids', about: { instanceId: instance.id, bindingId: id } }
    )
  }
}

export const unbindingChecks: readonly Check[] = [
  {
    id: 'unbind/answers-an-empty-object',
    section,
    level: 'SHOULD',
    rule: '200 with {} when the binding was deleted as a result of the request.',
    skip,
    async run(subject) {
      const answer = await subject.unbind(await subject.bind(await subject.shared()))
      if (answer.status !== 200) throw new NotApplicable('the plan is unbound later')
      expectSame(answer.json, {}, 'the body')
    }
  },
  {
    id: 'unbind/sync-or-async-required',
    section,
    level: 'MUST',
    rule: 'Without accepts_incomplete an unbind is complete when it is answered, or refused with AsyncRequired.',
    skip,
    async run(subject) {
      const binding = await subject.bind(await subject.shared())
      const answer = await subject.deleteBinding(binding, 'sync')
      expectStatus(answer, [200, 422], 'an unbind without accepts_incomplete')
      if (answer.status === 422) expectError(answer, 'AsyncRequired')
      else expectStatus(await subject.deleteBinding(binding), 410, 'an unbind after one that was answered 200')
    }
  },
  {
    id: 'unbind/unknown-answers-410',
    section,
    level: 'MUST',
    rule: '410 when the binding does not exist.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const answer = await subject.deleteBinding({ id: subject.newBindingId(instance), instance })
      expectStatus(answer, 410, 'an unbind of an unknown binding')
    }
  },
  {
    id: 'unbind/deleted-is-gone',
    section,
    level: 'MUST',
    rule: 'An unbind deletes the binding, and no other: 410 to a second one.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const other = await subject.sharedBinding()
      const binding = await subject.bind(instance)
      await subject.unbind(binding)
      expectStatus(await subject.deleteBinding(binding), 410, 'an unbind after the unbind')
      if (!subject.target.bindingsRetrievable) return
      expectStatus(await subject.getBinding(binding), 404, 'fetching a deleted binding')
      expectStatus(await subject.getBinding(other), 200, 'fetching another binding of the instance')
    }
  },
  {
    id: 'unbind/same-id-can-come-again',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'The id of a deleted binding may be used again, for credentials of its own.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const old = await subject.bind(instance)
      const before = await givenBy(subject, old)
      await subject.unbind(old)
      const after = await givenBy(subject, await subject.bind(instance, { id: old.id }))
      expectSame(typeof after.body.credentials, typeof before.body.credentials, 'kind of the credentials')
    }
  },
  {
    id: 'unbind/replay-answers-the-same-operation',
    section,
    level: 'MUST',
    rule: '202 with the same operation, not 200, when the request is sent again while it runs.',
    skip,
    async run(subject) {
      const binding = await subject.bind(await subject.shared())
      const first = await subject.deleteBinding(binding)
      const resource = { instanceId: binding.instance.id, bindingId: binding.id }
      await expectSameOperation(subject, { first, resource, again: () => subject.deleteBinding(binding) })
    }
  },
  {
    id: 'bind/replay-answers-the-same-operation',
    section: 'Binding',
    level: 'MUST',
    rule: '202 with the same operation, not 200, when the request is sent again while it runs.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const id = subject.newBindingId(instance)
      const first = await subject.putBinding(instance, { id })
      const resource = { instanceId: instance.id, bindingId: id }
      await expectSameOperation(subject, { first, resource, again: () => subject.putBinding(instance, { id }) })
    }
  },
  {
    id: 'unbind/during-bind-halts-it',
    section,
    level: 'MUST',
    rule: 'An unbind that is accepted during the bind halts it: nothing is there when it has ended.',
    skip: anyOf(skip, unless.bindingsRetrievable),
    async run(subject) {
      const instance = await subject.shared()
      const id = subject.newBindingId(instance)
      const created = await subject.putBinding(instance, { id })
      if (created.status !== 202) throw new NotApplicable('the plan is bound at once')
      const resource = { instanceId: instance.id, bindingId: id }
      const answer = await subject.deleteBinding({ id, instance })
      if (answer.status === 422) {
        expectError(answer, 'ConcurrencyError')
        await subject.end(created, resource)
        throw new NotApplicable('an unbind during the bind is refused')
      }
      expectStatus(answer, [200, 202], 'an unbind during the bind')
      const { state } = await subject.end(answer, resource)
      if (state === 'failed') throw new Violation('the unbind ended "failed"')
      expectStatus(await subject.getBinding({ id, instance }), 404, 'fetching a binding that was halted')
      expectStatus(await subject.deleteBinding({ id, instance }), 410, 'a second unbind')
    }
  },
  {
    id: 'unbind/missing-service-id-answers-400',
    section,
    level: 'MUST',
    rule: '400 when service_id is missing.',
    skip,
    run: malformed({ service_id: undefined }, [400])
  },
  {
    id: 'unbind/missing-plan-id-answers-400',
    section,
    level: 'MUST',
    rule: '400 when plan_id is missing.',
    skip,
    run: malformed({ plan_id: undefined }, [400])
  },
  {
    id: 'unbind/other-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'service_id MUST be the id of the offering of the binding.',
    skip,
    run: malformed({ service_id: 'conformance-unknown' }, [400, 404, 409, 422])
  },
  {
    id: 'unbind/unknown-comes-before-missing-ids',
    section: 'Platforms',
    level: 'SHOULD',
    rule: '410 for an unknown binding comes before 400 for missing ids.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const path = bindingPath(instance.id, subject.newBindingId(instance))
      const answer = await subject.send({ method: 'DELETE', path })
      expectStatus(answer, 410, 'an unbind of an unknown binding without ids')
    }
  }
]
