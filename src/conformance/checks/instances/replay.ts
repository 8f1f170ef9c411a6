import { type Check, NotApplicable, Violation } from '../../check.ts'
import type { Exchange } from '../../exchange.ts'
import { expectSame, expectStatus } from '../../expect.ts'
import { operationIn, type Resource } from '../../polling.ts'
import type { Subject } from '../../subject.ts'
import { unless } from '../skips.ts'

interface Replay {
  readonly first: Exchange
  readonly resource: Resource
  /** The same request once more. */
  readonly again: () => Promise<Exchange>
}

/**
 * Repeats a request while its operation runs: 202 with the same operation, never 200 (spec: the status tables of every
 * mutation). Goes on to the end of the operation.
 */
export async function expectSameOperation(subject: Subject, { first, resource, again }: Replay): Promise<void> {
  if (first.status !== 202) throw new NotApplicable('the plan does it at once')
  const second = await again()
  // With the operation's own token: what is asked is whether it was still running after the second answer.
  const token = operationIn(first)
  const poll = await subject.pollOnce(resource, token)
  await subject.end(first, resource)
  if (poll.body.state !== 'in progress') throw new NotApplicable('the operation ended too soon')
  expectStatus(second, 202, 'the same request while its operation runs')
  expectSame(operationIn(second), operationIn(first), 'operation of the second answer')
}

export const replayChecks: readonly Check[] = [
  {
    id: 'provision/replay-answers-the-same-operation',
    section: 'Provisioning',
    level: 'MUST',
    rule: '202 with the same operation, not 200, when the request is sent again while it runs.',
    async run(subject) {
      const id = subject.newInstanceId()
      const first = await subject.putInstance({ id })
      const again = () => subject.putInstance({ id })
      await expectSameOperation(subject, { first, resource: { instanceId: id }, again })
    }
  },
  {
    id: 'provision/conflict-while-in-progress-answers-409',
    section: 'Provisioning',
    level: 'MUST',
    rule: '409 when an instance with the same id is being provisioned but with different attributes.',
    skip: ({ otherPlans }) => (otherPlans.length > 0 ? undefined : 'the offering has one plan only'),
    async run(subject) {
      const id = subject.newInstanceId()
      const first = await subject.putInstance({ id })
      const other = await subject.putInstance({ id, body: { plan_id: subject.target.otherPlans[0]?.id } })
      const { state } = await subject.end(first, { instanceId: id })
      expectStatus(other, 409, 'a provision of the same id with another plan')
      if (state !== 'succeeded') throw new Violation('the conflicting request made the first one fail')
    }
  },
  {
    id: 'update/replay-answers-the-same-operation',
    section: 'Updating a Service Instance',
    level: 'MUST',
    rule: '202 with the same operation, not 200, when the request is sent again while it runs.',
    skip: unless.planUpdateable,
    async run(subject) {
      const instance = await subject.provision()
      const body = { plan_id: subject.target.otherPlans[0]?.id }
      const first = await subject.patchInstance(instance, body)
      if (first.status < 300) instance.planId = body.plan_id ?? instance.planId
      const again = () => subject.patchInstance(instance, body)
      await expectSameOperation(subject, { first, resource: { instanceId: instance.id }, again })
    }
  },
  {
    id: 'deprovision/replay-answers-the-same-operation',
    section: 'Deprovisioning',
    level: 'MUST',
    rule: '202 with the same operation, not 200, when the request is sent again while it runs.',
    async run(subject) {
      const instance = await subject.provision()
      const first = await subject.deleteInstance(instance)
      const again = () => subject.deleteInstance(instance)
      await expectSameOperation(subject, { first, resource: { instanceId: instance.id }, again })
    }
  }
]
