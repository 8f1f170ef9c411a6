import { instancePath } from '../../../client/endpoint.ts'
import { type Check, NotApplicable } from '../../check.ts'
import { expectError, expectParameters, expectSame, expectStatus } from '../../expect.ts'
import { anyOf, unless } from '../skips.ts'

const section = 'Fetching a Service Instance'

export const fetchingChecks: readonly Check[] = [
  {
    id: 'fetch-instance/answers-its-plan',
    section,
    level: 'MUST',
    rule: '200, with the offering and the plan of the instance where they are told.',
    skip: unless.instancesRetrievable,
    async run(subject) {
      const instance = await subject.shared()
      const answer = await subject.getInstance(instance)
      expectStatus(answer, 200, 'fetching an instance')
      const { service_id: serviceId = subject.target.service.id, plan_id: planId = instance.planId } = answer.body
      expectSame([serviceId, planId], [subject.target.service.id, instance.planId], 'service_id and plan_id')
    }
  },
  {
    id: 'fetch-instance/hints-are-taken',
    section,
    level: 'MUST',
    rule: 'service_id and plan_id may be sent as hints.',
    skip: unless.instancesRetrievable,
    async run(subject) {
      const { id, planId } = await subject.shared()
      const query = { service_id: subject.target.service.id, plan_id: planId }
      const answer = await subject.send({ method: 'GET', path: instancePath(id), query })
      expectStatus(answer, 200, 'fetching an instance with hints')
    }
  },
  {
    id: 'fetch-instance/unknown-answers-404',
    section,
    level: 'MUST',
    rule: '404 when the instance does not exist.',
    skip: unless.instancesRetrievable,
    async run(subject) {
      const answer = await subject.getInstance({ id: subject.newInstanceId() })
      expectStatus(answer, 404, 'fetching an unknown instance')
    }
  },
  {
    id: 'fetch-instance/in-progress-answers-404',
    section,
    level: 'MUST',
    rule: '404 while a provisioning operation is in progress.',
    skip: unless.instancesRetrievable,
    async run(subject) {
      const id = subject.newInstanceId()
      const created = await subject.putInstance({ id })
      if (created.status !== 202) throw new NotApplicable('the plan is provisioned at once')
      const answer = await subject.getInstance({ id })
      const poll = await subject.pollOnce({ instanceId: id })
      await subject.end(created, { instanceId: id })
      if (poll.body.state !== 'in progress') throw new NotApplicable('the provision ended too soon')
      expectStatus(answer, 404, 'fetching an instance that is being made')
    }
  },
  {
    id: 'fetch-instance/parameters-are-those-sent',
    section,
    level: 'MUST',
    rule: 'Parameters that are returned are those of the instance.',
    skip: anyOf(unless.instancesRetrievable, ({ examples }) =>
      examples.create?.full === undefined ? 'the plan has no schema to make parameters of' : undefined
    ),
    async run(subject) {
      const parameters = subject.target.examples.create?.full ?? {}
      const instance = await subject.provision({ body: { parameters } })
      expectParameters(await subject.getInstance(instance), parameters)
    }
  },
  {
    id: 'fetch-instance/updating-answers-422',
    section,
    level: 'MUST',
    rule: '422 ConcurrencyError while the instance is being updated.',
    skip: anyOf(unless.instancesRetrievable, unless.planUpdateable),
    async run(subject) {
      const instance = await subject.provision()
      const [plan] = subject.target.otherPlans
      const changed = await subject.patchInstance(instance, { plan_id: plan?.id })
      if (changed.status === 200) instance.planId = plan?.id ?? instance.planId
      if (changed.status !== 202) throw new NotApplicable('the plan is updated at once, or not to that plan')
      const answer = await subject.getInstance(instance)
      const poll = await subject.pollOnce({ instanceId: instance.id })
      const { state } = await subject.end(changed, { instanceId: instance.id })
      if (state === 'succeeded') instance.planId = plan?.id ?? instance.planId
      if (poll.body.state !== 'in progress') throw new NotApplicable('the update ended too soon')
      expectStatus(answer, 422, 'fetching an instance that is being updated')
      expectError(answer, 'ConcurrencyError')
    }
  }
]
