import { instancePath } from '../../../client/endpoint.ts'
import type { Check } from '../../check.ts'
import { expectError, expectStatus, expectThat } from '../../expect.ts'
import { unless } from '../skips.ts'

const section = 'Synchronous and Asynchronous Operations'

/** What a plan that cannot do it at once has to answer (spec: Asynchronous Operations). */
export const asynchronyChecks: readonly Check[] = [
  {
    id: 'provision/sync-or-async-required',
    section,
    level: 'MUST',
    rule: 'Without accepts_incomplete a provision is complete when it is answered, or refused with AsyncRequired.',
    async run(subject) {
      const id = subject.newInstanceId()
      const answer = await subject.putInstance({ id, manner: 'sync' })
      expectStatus(answer, [201, 422], 'a provision without accepts_incomplete')
      if (answer.status === 422) {
        expectError(answer, 'AsyncRequired')
        return
      }
      const poll = await subject.pollOnce({ instanceId: id })
      expectThat(poll.body.state !== 'in progress', 'answered 201, and last_operation says "in progress"')
      if (!subject.target.instancesRetrievable) return
      expectStatus(await subject.getInstance({ id }), 200, 'fetching an instance that was answered 201')
    }
  },
  {
    id: 'provision/accepts-incomplete-false-is-like-absent',
    section,
    level: 'MUST',
    rule: 'accepts_incomplete=false is like no accepts_incomplete: never 202.',
    async run(subject) {
      const answer = await subject.send({
        ...subject.provisionRequest({ manner: 'sync' }),
        query: { accepts_incomplete: 'false' }
      })
      expectStatus(answer, [201, 422], 'a provision with accepts_incomplete=false')
      if (answer.status === 422) expectError(answer, 'AsyncRequired')
    }
  },
  {
    id: 'update/sync-or-async-required',
    section,
    level: 'MUST',
    rule: 'Without accepts_incomplete an update is complete when it is answered, or refused with AsyncRequired.',
    skip: unless.planUpdateable,
    async run(subject) {
      const instance = await subject.provision()
      const [plan] = subject.target.otherPlans
      const answer = await subject.patchInstance(instance, { plan_id: plan?.id }, 'sync')
      expectThat(answer.status !== 202, 'an update without accepts_incomplete was answered 202')
      if (answer.status === 200) instance.planId = plan?.id ?? instance.planId
      if (answer.status !== 200) expectStatus(answer, [400, 422], 'an update without accepts_incomplete')
    }
  },
  {
    id: 'deprovision/sync-or-async-required',
    section,
    level: 'MUST',
    rule: 'Without accepts_incomplete a deprovision is complete when it is answered, or refused with AsyncRequired.',
    async run(subject) {
      const instance = await subject.provision()
      const answer = await subject.deleteInstance(instance, 'sync')
      expectStatus(answer, [200, 422], 'a deprovision without accepts_incomplete')
      if (answer.status === 422) expectError(answer, 'AsyncRequired')
      else expectStatus(await subject.deleteInstance(instance), 410, 'a deprovision after one that was answered 200')
    }
  },
  {
    id: 'provision/succeeded-is-there',
    section: 'Fetching a Service Instance',
    level: 'MUST',
    rule: 'An instance can be fetched as soon as last_operation says "succeeded".',
    skip: unless.instancesRetrievable,
    async run(subject) {
      const { id } = await subject.provision()
      const answer = await subject.send({ method: 'GET', path: instancePath(id) })
      expectStatus(answer, 200, 'fetching an instance whose provision has just succeeded')
    }
  }
]
