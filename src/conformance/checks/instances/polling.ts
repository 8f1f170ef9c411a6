import { type Check, NotApplicable } from '../../check.ts'
import { expectSame, expectStatus, expectThat } from '../../expect.ts'
import { operationIn } from '../../polling.ts'

const section = 'Polling Last Operation for Service Instances'

export const pollingChecks: readonly Check[] = [
  {
    id: 'poll-instance/accepted-can-be-polled',
    section,
    level: 'MUST',
    rule: '200 with a state for an operation that was answered 202.',
    async run(subject) {
      const id = subject.newInstanceId()
      const created = await subject.putInstance({ id })
      if (created.status !== 202) throw new NotApplicable('the plan is provisioned at once')
      const { state, polls } = await subject.end(created, { instanceId: id })
      expectThat(polls.length > 0, 'there was no poll')
      expectSame(state, 'succeeded', 'state of the provision at its end')
    }
  },
  {
    id: 'poll-instance/ended-is-remembered',
    section,
    level: 'SHOULD',
    rule: 'The state of an operation is not forgotten as soon as it was told.',
    async run(subject) {
      const { id, created } = await subject.shared()
      if (created.status !== 202) throw new NotApplicable('the plan is provisioned at once')
      const token = operationIn(created)
      for (let times = 0; times < 2; times += 1) {
        const poll = await subject.pollOnce({ instanceId: id }, token)
        expectStatus(poll, 200, 'a poll after the end')
        expectSame(poll.body.state, 'succeeded', 'state after the end')
      }
    }
  },
  {
    id: 'poll-instance/without-operation-is-answered',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'Without an operation last_operation answers for the latest one, or 404; never 400.',
    async run(subject) {
      const { id } = await subject.shared()
      expectStatus(await subject.pollOnce({ instanceId: id }), [200, 404], 'a poll without an operation')
    }
  },
  {
    id: 'poll-instance/unknown-operation-is-no-400',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'An operation that was never issued is answered from the latest one, or 404: Cloud Controller takes 400 for the end.',
    async run(subject) {
      const { id } = await subject.shared()
      const poll = await subject.pollOnce({ instanceId: id }, 'never issued/ünd+öd?')
      expectStatus(poll, [200, 404], 'a poll with an operation that was never issued')
    }
  },
  {
    id: 'poll-instance/stale-ids-are-no-400',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'Stale service_id and plan_id are hints: they are answered from the latest operation, or 404; never 400.',
    async run(subject) {
      const { id } = await subject.shared()
      const stale = { service_id: 'conformance-gone', plan_id: 'conformance-gone' }
      const poll = await subject.pollOnce({ instanceId: id }, undefined, stale)
      expectStatus(poll, [200, 404], 'a poll with ids that are not in the catalog')
    }
  },
  {
    id: 'poll-instance/unknown-answers-404',
    section,
    level: 'MUST',
    rule: '404 when the instance does not exist.',
    async run(subject) {
      const poll = await subject.pollOnce({ instanceId: subject.newInstanceId() })
      expectStatus(poll, 404, 'a poll of an unknown instance')
    }
  },
  {
    id: 'poll-instance/deleted-is-told',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'After an asynchronous delete last_operation answers 200 "succeeded", or 410.',
    async run(subject) {
      const instance = await subject.provision()
      const deleted = await subject.deprovision(instance)
      if (deleted.status !== 202) throw new NotApplicable('the plan is deprovisioned at once')
      const token = operationIn(deleted)
      const poll = await subject.pollOnce({ instanceId: instance.id }, token)
      expectStatus(poll, [200, 410], 'a poll after the delete')
      if (poll.status === 200) expectSame(poll.body.state, 'succeeded', 'state after the delete')
    }
  }
]
