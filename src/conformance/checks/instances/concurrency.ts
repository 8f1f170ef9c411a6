import { randomUUID } from 'node:crypto'
import type { Check } from '../../check.ts'
import type { Exchange } from '../../exchange.ts'
import { expectSame, expectStatus, expectThat } from '../../expect.ts'
import { operationIn } from '../../polling.ts'
import type { Subject } from '../../subject.ts'

const section = 'Blocking Operations'
const TIMES = 10

/** Every answer is one of those allowed; a 422 is a ConcurrencyError. */
function expectEach(answers: readonly Exchange[], statuses: readonly number[], why: string): void {
  for (const answer of answers) {
    if (answer.status === 422) expectSame(answer.body.error, 'ConcurrencyError', `error of a 422 to ${why}`)
    else expectStatus(answer, statuses, why)
  }
}

/** Follows what was accepted, so that the next step finds a quiet resource. */
async function endAll(subject: Subject, answers: readonly Exchange[], instanceId: string): Promise<void> {
  for (const answer of answers) if (answer.status === 202) await subject.end(answer, { instanceId })
}

export const concurrencyChecks: readonly Check[] = [
  {
    id: 'concurrency/identical-provisions-make-one',
    section,
    level: 'MUST',
    rule: 'Identical provisions at once make one instance: each is answered with it, with its operation, or ConcurrencyError.',
    async run(subject) {
      const id = subject.newInstanceId()
      const answers = await Promise.all(Array.from({ length: TIMES }, () => subject.putInstance({ id })))
      await endAll(subject, answers, id)
      expectEach(answers, [200, 201, 202], 'one of ten identical provisions at once')
      const made = answers.filter(({ status }) => status === 201)
      const accepted = answers.filter(({ status }) => status === 202)
      expectThat(made.length + Math.min(accepted.length, 1) >= 1, 'none of ten identical provisions was accepted')
      expectThat(made.length <= 1, `${made.length} of ten identical provisions were answered 201`)
      const operations = new Set(accepted.map(operationIn))
      expectThat(operations.size <= 1, `ten identical provisions have ${operations.size} operations`)
      const again = await subject.putInstance({ id })
      expectStatus(again, 200, 'the same provision once more')
    }
  },
  {
    id: 'concurrency/conflicting-provisions-make-one',
    section,
    level: 'MUST',
    rule: 'Of provisions with one id and different attributes at once one is accepted; the others are 409 or ConcurrencyError.',
    async run(subject) {
      const id = subject.newInstanceId()
      const [other] = subject.target.otherPlans
      const bodies = [{}, other === undefined ? { space_guid: 'another-space' } : { plan_id: other.id }]
      const answers = await Promise.all(
        Array.from({ length: TIMES }, (_, index) => subject.putInstance({ id, body: bodies[index % 2] ?? {} }))
      )
      await endAll(subject, answers, id)
      expectEach(answers, [200, 201, 202, 409], 'one of ten conflicting provisions at once')
      const winners = [0, 1].map((parity) => answers.some(({ status }, index) => index % 2 === parity && status < 300))
      expectSame(winners.filter(Boolean).length, 1, 'number of different bodies that were accepted')
      const winner = await subject.putInstance({ id, body: bodies[winners[0] === true ? 0 : 1] ?? {} })
      expectStatus(winner, 200, 'the accepted provision once more')
    }
  },
  {
    id: 'concurrency/deletes-at-once-end-once',
    section,
    level: 'MUST',
    rule: 'Deletes at once are answered 200, 202 or 410, or ConcurrencyError; then the instance is gone.',
    async run(subject) {
      const instance = await subject.provision()
      const answers = await Promise.all(Array.from({ length: TIMES }, () => subject.deleteInstance(instance)))
      expectEach(answers, [200, 202, 410], 'one of ten deletes at once')
      await endAll(subject, answers, instance.id)
      const accepted = answers.filter(({ status }) => status === 202)
      const operations = new Set(accepted.map(operationIn))
      expectThat(operations.size <= 1, `ten deletes have ${operations.size} operations`)
      expectStatus(await subject.deleteInstance(instance), 410, 'a delete afterwards')
    }
  },
  {
    id: 'concurrency/provision-and-delete-agree',
    section,
    level: 'MUST',
    rule: 'Provisions and deletes at once leave one state on which all answers agree.',
    async run(subject) {
      const id = subject.newInstanceId()
      const instance = { id, planId: subject.target.plan.id }
      const answers = await Promise.all(
        Array.from({ length: TIMES }, (_, index) =>
          index % 2 === 0 ? subject.putInstance({ id }) : subject.deleteInstance(instance)
        )
      )
      expectEach(answers, [200, 201, 202, 410], 'a provision or a delete of one id at once')
      await quiet(subject, answers, id)
      const deleted = await subject.deleteInstance(instance)
      expectStatus(deleted, [200, 202, 410], 'a delete afterwards')
      await subject.end(deleted, { instanceId: id })
      expectStatus(await subject.deleteInstance(instance), 410, 'a delete after that')
    }
  },
  {
    id: 'concurrency/instances-do-not-disturb-each-other',
    section,
    level: 'SHOULD',
    rule: 'Provisions of different instances at once all succeed.',
    async run(subject) {
      const ids = Array.from({ length: 4 }, () => randomUUID())
      const instances = await Promise.all(ids.map((id) => subject.provision({ id })))
      await Promise.all(instances.map((instance) => subject.deprovision(instance)))
    }
  },
  {
    id: 'concurrency/updates-at-once-are-answered',
    section,
    level: 'MUST',
    rule: 'Updates at once are answered 200 or 202, refused as unsupported, or ConcurrencyError.',
    async run(subject) {
      const { id, planId } = await subject.shared()
      const answers = await Promise.all(
        Array.from({ length: TIMES }, () => subject.patchInstance({ id, planId }, { parameters: {} }))
      )
      await endAll(subject, answers, id)
      for (const answer of answers) expectStatus(answer, [200, 202, 400, 422], 'one of ten updates at once')
    }
  }
]

/** Waits until no operation runs on the instance any more. */
async function quiet(subject: Subject, answers: readonly Exchange[], instanceId: string): Promise<void> {
  const accepted = answers.find(({ status }) => status === 202)
  if (accepted === undefined) return
  // Whatever ran last: polled without an operation, the latest answers.
  await subject.end({ ...accepted, request: { ...accepted.request, method: 'DELETE' }, body: {} }, { instanceId })
}
