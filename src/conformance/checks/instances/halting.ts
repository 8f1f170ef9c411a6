import { type Check, NotApplicable, Violation } from '../../check.ts'
import { expectError, expectStatus, expectThat } from '../../expect.ts'

/** Deletes that come while the create is under way (spec: Deprovisioning, second paragraph). */
export const haltingChecks: readonly Check[] = [
  {
    id: 'deprovision/during-provision-halts-it',
    section: 'Deprovisioning',
    level: 'MUST',
    rule: 'A delete that is accepted during the provision halts it: nothing is there when it has ended.',
    async run(subject) {
      const id = subject.newInstanceId()
      const created = await subject.putInstance({ id })
      if (created.status !== 202) throw new NotApplicable('the plan is provisioned at once')
      const instance = { id, planId: subject.target.plan.id }
      const answer = await subject.deleteInstance(instance)
      if (answer.status === 422) {
        expectError(answer, 'ConcurrencyError')
        throw new NotApplicable('a delete during the provision is refused')
      }
      expectStatus(answer, [200, 202], 'a delete during the provision')
      const { state } = await subject.end(answer, { instanceId: id })
      if (state === 'failed') throw new Violation('the delete ended "failed"')
      await settled(subject, created, id)
      if (subject.target.instancesRetrievable) {
        expectStatus(await subject.getInstance({ id }), 404, 'fetching an instance that was deleted while it was made')
      }
      expectStatus(await subject.deleteInstance(instance), 410, 'a second delete')
    }
  },
  {
    id: 'deprovision/during-provision-fails-it',
    section: 'Deprovisioning',
    level: 'SHOULD',
    rule: 'The provision that a delete has halted is told as "failed" to whoever polls its operation.',
    async run(subject) {
      const id = subject.newInstanceId()
      const created = await subject.putInstance({ id })
      const { operation } = created.body
      if (created.status !== 202) throw new NotApplicable('the plan is provisioned at once')
      if (typeof operation !== 'string') throw new NotApplicable('the broker issues no operation')
      const answer = await subject.deleteInstance({ id, planId: subject.target.plan.id })
      if (answer.status === 422) throw new NotApplicable('a delete during the provision is refused')
      await subject.end(answer, { instanceId: id })
      const poll = await subject.pollOnce({ instanceId: id }, operation)
      expectStatus(poll, [200, 404, 410], 'a poll of the halted provision')
      expectThat(
        poll.status !== 200 || poll.body.state !== 'in progress',
        'the halted provision is still told as "in progress"'
      )
    }
  }
]

/** Polls the halted provision until it has ended, so that whatever it still makes is there to be seen. */
async function settled(
  subject: Parameters<Check['run']>[0],
  created: Parameters<typeof expectStatus>[0],
  instanceId: string
): Promise<void> {
  try {
    await subject.end(created, { instanceId })
  } catch (error) {
    // 404 and 410 are as good: the operation is gone with its instance.
    if (!(error instanceof Violation)) throw error
  }
}
