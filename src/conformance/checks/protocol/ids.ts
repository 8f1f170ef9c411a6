import { randomUUID } from 'node:crypto'
import type { Check } from '../../check.ts'
import { expectSame, expectStatus } from '../../expect.ts'
import type { Subject } from '../../subject.ts'

const section = 'URL Properties'

/** Makes, fetches, binds and removes an instance under an id. */
async function lives(subject: Subject, id: string): Promise<void> {
  const { target } = subject
  const instance = await subject.provision({ id })
  if (target.instancesRetrievable)
    expectStatus(await subject.getInstance(instance), 200, `fetching the instance "${id}"`)
  if (target.bindable) {
    const binding = await subject.bind(instance, { id })
    if (target.bindingsRetrievable) expectStatus(await subject.getBinding(binding), 200, `fetching the binding "${id}"`)
    await subject.unbind(binding)
  }
  await subject.deprovision(instance)
}

export const idChecks: readonly Check[] = [
  {
    id: 'ids/unreserved-characters',
    section,
    level: 'MUST',
    rule: 'Ids of unreserved characters (letters, digits, - . _ ~) are taken.',
    async run(subject) {
      await lives(subject, `A.b_c~d-${randomUUID()}`)
    }
  },
  {
    id: 'ids/other-characters',
    section,
    level: 'SHOULD',
    rule: 'There is no restriction on the characters of ids; others are percent-encoded.',
    async run(subject) {
      for (const middle of [
        'a b+c',
        'a/b?c#d',
        '100%25',
        "it's",
        '"<&>"',
        'ünïcødé-🙂',
        'a:b@c,d;e=f',
        '(a)[b]{c}|\\^`'
      ]) {
        await lives(subject, `${middle}-${randomUUID().slice(0, 8)}`)
      }
    }
  },
  {
    id: 'ids/differ-in-case-and-encoding',
    section,
    level: 'SHOULD',
    rule: 'Ids are compared as they are: those that differ in case, or in + and space, are different.',
    async run(subject) {
      const unique = randomUUID().slice(0, 8)
      for (const [one, other] of [
        [`case-${unique}`, `CASE-${unique}`],
        [`a+${unique}`, `a ${unique}`]
      ] as const) {
        const instance = await subject.provision({ id: one })
        const poll = await subject.pollOnce({ instanceId: other })
        expectSame(poll.status, 404, `status of a poll of "${other}" where only "${one}" exists`)
        await subject.deprovision(instance)
      }
    }
  }
]
