import { type Check, NotApplicable } from '../../check.ts'
import { expectSame, expectStatus } from '../../expect.ts'
import { operationIn } from '../../polling.ts'
import { unless } from '../skips.ts'

const section = 'Polling Last Operation for Service Bindings'
const skip = unless.bindable

export const bindingPollingChecks: readonly Check[] = [
  {
    id: 'poll-binding/ended-is-remembered',
    section,
    level: 'SHOULD',
    rule: 'The state of an operation is not forgotten as soon as it was told.',
    skip,
    async run(subject) {
      const { id, instance, created } = await subject.sharedBinding()
      if (created.status !== 202) throw new NotApplicable('the plan is bound at once')
      const token = operationIn(created)
      for (let times = 0; times < 2; times += 1) {
        const poll = await subject.pollOnce({ instanceId: instance.id, bindingId: id }, token)
        expectStatus(poll, 200, 'a poll after the end')
        expectSame(poll.body.state, 'succeeded', 'state after the end')
      }
    }
  },
  {
    id: 'poll-binding/unknown-operation-is-no-400',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'No operation, one that was never issued, and stale ids are answered from the latest operation, or 404; never 400.',
    skip,
    async run(subject) {
      const { id, instance } = await subject.sharedBinding()
      const resource = { instanceId: instance.id, bindingId: id }
      const stale = { service_id: 'conformance-gone', plan_id: 'conformance-gone' }
      const polls = [
        await subject.pollOnce(resource),
        await subject.pollOnce(resource, 'never issued/ünd+öd?'),
        await subject.pollOnce(resource, undefined, stale)
      ]
      for (const poll of polls) expectStatus(poll, [200, 404], 'a poll with hints that are wrong')
    }
  },
  {
    id: 'poll-binding/unknown-answers-404',
    section,
    level: 'MUST',
    rule: '404 when the binding does not exist.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const poll = await subject.pollOnce({ instanceId: instance.id, bindingId: subject.newBindingId(instance) })
      expectStatus(poll, 404, 'a poll of an unknown binding')
    }
  },
  {
    id: 'poll-binding/deleted-is-told',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'After an asynchronous unbind last_operation answers 200 "succeeded", or 410.',
    skip,
    async run(subject) {
      const binding = await subject.bind(await subject.shared())
      const deleted = await subject.unbind(binding)
      if (deleted.status !== 202) throw new NotApplicable('the plan is unbound at once')
      const token = operationIn(deleted)
      const poll = await subject.pollOnce({ instanceId: binding.instance.id, bindingId: binding.id }, token)
      expectStatus(poll, [200, 410], 'a poll after the unbind')
      if (poll.status === 200) expectSame(poll.body.state, 'succeeded', 'state after the unbind')
    }
  }
]
