import { type Check, NotApplicable } from '../../check.ts'
import { expectSame, expectStatus, expectThat } from '../../expect.ts'
import type { Subject } from '../../subject.ts'
import type { Binding } from '../../traces.ts'
import { anyOf, unless } from '../skips.ts'
import { givenBy } from './credentials.ts'

const section = 'Binding Rotation'
const skip = unless.rotatable

/** A successor, asked for with nothing but its predecessor, as the specification has it. */
function rotation(subject: Subject, predecessor: Binding, id: string) {
  const { path, method, query } = subject.bindRequest(predecessor.instance, { id })
  return { method, path, ...(query === undefined ? {} : { query }), body: { predecessor_binding_id: predecessor.id } }
}

async function rotated(subject: Subject, predecessor: Binding): Promise<Binding> {
  const id = subject.newBindingId(predecessor.instance)
  const created = await subject.send(rotation(subject, predecessor, id))
  expectStatus(created, [201, 202], 'a rotation')
  const { state } = await subject.end(created, { instanceId: predecessor.instance.id, bindingId: id })
  expectSame(state, 'succeeded', 'state of the rotation at its end')
  return { id, instance: predecessor.instance, created }
}

export const rotationChecks: readonly Check[] = [
  {
    id: 'rotate/makes-a-successor',
    section,
    level: 'MUST',
    rule: 'A bind with predecessor_binding_id makes a new binding with a new id.',
    skip,
    async run(subject) {
      const predecessor = await subject.bind(await subject.shared())
      const successor = await rotated(subject, predecessor)
      const [before, after] = [await givenBy(subject, predecessor), await givenBy(subject, successor)]
      if (before.body.credentials === undefined) throw new NotApplicable('the plan gives no credentials')
      expectThat(after.body.credentials !== undefined, 'the successor has no credentials')
    }
  },
  {
    id: 'rotate/both-are-valid',
    section,
    level: 'MUST',
    rule: 'Predecessor and successor are valid in parallel.',
    skip: anyOf(skip, unless.bindingsRetrievable),
    async run(subject) {
      const predecessor = await subject.bind(await subject.shared())
      const successor = await rotated(subject, predecessor)
      expectStatus(await subject.getBinding(predecessor), 200, 'fetching the predecessor')
      expectStatus(await subject.getBinding(successor), 200, 'fetching the successor')
      await subject.unbind(predecessor)
      expectStatus(await subject.getBinding(successor), 200, 'fetching the successor without its predecessor')
    }
  },
  {
    id: 'rotate/inherits-the-parameters',
    section,
    level: 'SHOULD',
    rule: 'The parameters of a binding need not be given again to its successor.',
    skip: anyOf(skip, unless.bindingsRetrievable, ({ examples }) =>
      Object.keys(examples.bind?.full ?? {}).length > 0 ? undefined : 'the plan has no schema to make parameters of'
    ),
    async run(subject) {
      const parameters = subject.target.examples.bind?.full ?? {}
      const predecessor = await subject.bind(await subject.shared(), { body: { parameters } })
      const before = await subject.getBinding(predecessor)
      const after = await subject.getBinding(await rotated(subject, predecessor))
      if (before.body.parameters === undefined) throw new NotApplicable('parameters are not returned')
      expectSame(after.body.parameters, before.body.parameters, 'parameters of the successor')
    }
  },
  {
    id: 'rotate/again-answers-200',
    section,
    level: 'SHOULD',
    rule: '200 for a successor that exists and was asked for in the same way.',
    skip,
    async run(subject) {
      const predecessor = await subject.sharedBinding()
      const successor = await rotated(subject, predecessor)
      expectStatus(await subject.send(rotation(subject, predecessor, successor.id)), 200, 'the same rotation once more')
    }
  },
  {
    id: 'rotate/unknown-predecessor-is-refused',
    section,
    level: 'MUST',
    rule: 'predecessor_binding_id MUST be the id of a non-expired binding of the same instance.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const id = subject.newBindingId(instance)
      await subject.refused(
        subject.bindRequest(instance, { id, body: { predecessor_binding_id: 'conformance-unknown' } }),
        {
          status: [400, 404, 409, 410, 422],
          why: 'a rotation of an unknown binding',
          about: { instanceId: instance.id, bindingId: id }
        }
      )
    }
  },
  {
    id: 'rotate/predecessor-of-another-instance-is-refused',
    section,
    level: 'MUST',
    rule: 'predecessor_binding_id MUST be the id of a binding of the same instance.',
    skip,
    async run(subject) {
      const { id: predecessor } = await subject.sharedBinding()
      const instance = await subject.provision()
      const id = subject.newBindingId(instance)
      await subject.refused(subject.bindRequest(instance, { id, body: { predecessor_binding_id: predecessor } }), {
        status: [400, 404, 409, 410, 422],
        why: 'a rotation of a binding of another instance',
        about: { instanceId: instance.id, bindingId: id }
      })
    }
  }
]
