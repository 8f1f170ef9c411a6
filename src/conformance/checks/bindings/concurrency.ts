import type { Check } from '../../check.ts'
import { expectSame, expectStatus, expectThat } from '../../expect.ts'
import { unless } from '../skips.ts'

const section = 'Blocking Operations'
const TIMES = 10

export const bindingConcurrencyChecks: readonly Check[] = [
  {
    id: 'concurrency/identical-binds-make-one',
    section,
    level: 'MUST',
    rule: 'Identical binds at once make one binding: each is answered with it, with its operation, or ConcurrencyError.',
    skip: unless.bindable,
    async run(subject) {
      const instance = await subject.shared()
      const id = subject.newBindingId(instance)
      const resource = { instanceId: instance.id, bindingId: id }
      const answers = await Promise.all(Array.from({ length: TIMES }, () => subject.putBinding(instance, { id })))
      for (const answer of answers) if (answer.status === 202) await subject.end(answer, resource)
      for (const answer of answers) {
        expectStatus(answer, [200, 201, 202, 422], 'one of ten identical binds at once')
        if (answer.status === 422) expectSame(answer.body.error, 'ConcurrencyError', 'error of a 422')
      }
      const made = answers.filter(({ status }) => status === 201)
      expectThat(made.length <= 1, `${made.length} of ten identical binds were answered 201`)
      const given = new Set(
        answers.flatMap(({ body }) => (body.credentials === undefined ? [] : [JSON.stringify(body.credentials)]))
      )
      expectThat(given.size <= 1, `ten identical binds were given ${given.size} different credentials`)
      expectStatus(await subject.putBinding(instance, { id }), 200, 'the same bind once more')
    }
  },
  {
    id: 'concurrency/binds-of-one-instance-are-answered',
    section,
    level: 'MUST',
    rule: 'Different binds of one instance at once are made, or refused with ConcurrencyError.',
    skip: unless.bindable,
    async run(subject) {
      const instance = await subject.shared()
      const ids = Array.from({ length: 5 }, () => subject.newBindingId(instance))
      const answers = await Promise.all(ids.map((id) => subject.putBinding(instance, { id })))
      for (const [index, answer] of answers.entries()) {
        expectStatus(answer, [201, 202, 422], 'one of five binds at once')
        if (answer.status === 422) expectSame(answer.body.error, 'ConcurrencyError', 'error of a 422')
        const { state } = await subject.end(answer, { instanceId: instance.id, bindingId: ids[index] ?? '' })
        if (answer.status === 202) expectSame(state, 'succeeded', 'state of a bind at its end')
      }
    }
  }
]
