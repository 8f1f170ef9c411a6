import type { JsonObject } from '../../../../schemas/common.ts'
import { type Check, NotApplicable, Violation } from '../../check.ts'
import { expectStatus, expectThat } from '../../expect.ts'
import type { ParameterExamples } from '../../parameters.ts'
import { descriptionOf, type Subject } from '../../subject.ts'
import type { Target } from '../../target.ts'
import { unless } from '../skips.ts'

const section = 'Input Parameters Schema Object'

type Kind = 'create' | 'update' | 'bind'

const kinds: Readonly<Record<Kind, { noun: string; skip: (target: Target) => string | undefined }>> = {
  create: { noun: 'a provision', skip: () => undefined },
  update: { noun: 'an update', skip: () => undefined },
  bind: { noun: 'a bind', skip: unless.bindable }
}

/** Sends parameters that the plan's schema refuses: "SHOULD ensure that the client has provided valid" ones. */
async function refuseAll(subject: Subject, kind: Kind, violations: ParameterExamples['violations']): Promise<void> {
  const instance = kind === 'create' ? undefined : await subject.shared()
  for (const { what, parameters } of violations) {
    const why = `${kinds[kind].noun} with ${what}`
    const refusal = { status: kind === 'update' ? [400, 422] : 400, why }
    if (instance === undefined) {
      const id = subject.newInstanceId()
      await subject.refused(subject.provisionRequest({ id, body: { parameters } }), {
        ...refusal,
        about: { instanceId: id }
      })
    } else if (kind === 'update') {
      const about = { instanceId: instance.id }
      await subject.refused(subject.updateRequest(instance, { parameters }), { ...refusal, about })
    } else {
      const id = subject.newBindingId(instance)
      const about = { instanceId: instance.id, bindingId: id }
      await subject.refused(subject.bindRequest(instance, { id, body: { parameters } }), { ...refusal, about })
    }
  }
}

async function accept(subject: Subject, kind: Kind, parameters: JsonObject): Promise<void> {
  if (kind === 'create') await subject.provision({ body: { parameters } })
  else if (kind === 'bind') await subject.bind(await subject.shared(), { body: { parameters } })
  else {
    const instance = await subject.provision()
    const answer = await subject.patchInstance(instance, { parameters })
    expectStatus(answer, [200, 202], 'an update with parameters that the schema accepts')
    const { state, last } = await subject.end(answer, { instanceId: instance.id })
    if (state !== 'succeeded') throw new Violation(`the update ended "${state}": ${descriptionOf(last)}`)
  }
}

const noSchema = 'the plan has no schema for them'

export const parameterChecks: readonly Check[] = (['create', 'update', 'bind'] as const).flatMap((kind): Check[] => {
  const { noun, skip } = kinds[kind]
  return [
    {
      id: `parameters/violating-${kind}-answers-400`,
      section,
      level: 'SHOULD',
      rule: `Parameters of ${noun} that break the plan's schema are refused with 400.`,
      skip: (target) =>
        skip(target) ??
        ((target.examples[kind]?.violations.length ?? 0) > 0 ? undefined : `${noSchema}, or one that forbids nothing`),
      run: (subject) => refuseAll(subject, kind, subject.target.examples[kind]?.violations ?? [])
    },
    {
      id: `parameters/valid-${kind}-is-taken`,
      section,
      level: 'SHOULD',
      rule: `Parameters of ${noun} that keep the plan's schema are taken.`,
      skip: (target) => skip(target) ?? (target.examples[kind]?.full === undefined ? noSchema : undefined),
      run: (subject) => accept(subject, kind, subject.target.examples[kind]?.full ?? {})
    },
    {
      id: `parameters/no-object-${kind}-answers-400`,
      section: kind === 'create' ? 'Provisioning' : kind === 'update' ? 'Updating a Service Instance' : 'Binding',
      level: 'MUST',
      rule: `parameters of ${noun} are an object: anything else is malformed, 400.`,
      skip,
      async run(subject) {
        const { bindable } = subject.target
        expectThat(kind !== 'bind' || bindable, 'the plan is not bindable')
        if (kind === 'update' && subject.target.examples.update === undefined) throw new NotApplicable(noSchema)
        const violations = ['text', 5, ['list'], true].map((value) => ({
          what: `parameters: ${JSON.stringify(value)}`,
          parameters: value as unknown as JsonObject
        }))
        await refuseAll(subject, kind, violations)
      }
    }
  ]
})
