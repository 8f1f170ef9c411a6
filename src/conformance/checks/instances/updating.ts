import type { JsonObject } from '../../../../schemas/common.ts'
import { type Check, NotApplicable, Violation } from '../../check.ts'
import { expectParameters, expectSame, expectStatus } from '../../expect.ts'
import { descriptionOf, type Subject } from '../../subject.ts'
import type { Target } from '../../target.ts'
import type { Instance } from '../../traces.ts'
import { anyOf, unless } from '../skips.ts'

const section = 'Updating a Service Instance'

/** An update that must be refused whatever the broker can do. */
function impossible(status: readonly number[], why: string, body: (target: Target) => JsonObject) {
  return async (subject: Subject) => {
    const { id } = await subject.shared()
    const refusal = { status, why, about: { instanceId: id } }
    await subject.refused(subject.updateRequest({ id }, body(subject.target)), refusal)
  }
}

/** Updates an instance and waits. Not every change must be supported: one that is not is 400 or 422. */
async function updated(subject: Subject, instance: Instance, body: JsonObject): Promise<void> {
  const answer = await subject.patchInstance(instance, body)
  if (answer.status === 400 || answer.status === 422) {
    throw new NotApplicable(`the change is not supported: ${descriptionOf(answer)}`)
  }
  expectStatus(answer, [200, 202], 'an update')
  const { state, last } = await subject.end(answer, { instanceId: instance.id })
  if (state !== 'succeeded') throw new Violation(`the update ended "${state}": ${descriptionOf(last)}`)
  if (typeof body.plan_id === 'string') instance.planId = body.plan_id
}

/** An update that must have no effect. */
function harmless(body: (target: Target) => JsonObject) {
  return async (subject: Subject) => {
    const instance = await subject.shared()
    const before = subject.target.instancesRetrievable ? await subject.getInstance(instance) : undefined
    const answer = await subject.patchInstance(instance, body(subject.target))
    expectStatus(answer, [200, 202], 'an update that asks for nothing new')
    const { state, last } = await subject.end(answer, { instanceId: instance.id })
    if (state !== 'succeeded') throw new Violation(`the update ended "${state}": ${descriptionOf(last)}`)
    if (before === undefined) return
    const after = await subject.getInstance(instance)
    const told = ({ plan_id: plan, parameters }: JsonObject) => ({ plan, parameters })
    expectSame(told(after.body), told(before.body), 'plan and parameters after the update')
  }
}

/** Platforms send nothing of the kind to a broker that has not said that it takes updates. */
const noUpdates = ({ planUpdateable, contextUpdates, plan }: Target) =>
  planUpdateable || contextUpdates || plan.schemas?.service_instance?.update !== undefined
    ? undefined
    : 'the catalog declares no updates'

export const updatingChecks: readonly Check[] = [
  {
    id: 'update/plan-can-be-changed',
    section,
    level: 'MUST',
    rule: 'Where plan_updateable is declared a change of plan can be asked for; when it succeeds, the instance has that plan.',
    skip: unless.planUpdateable,
    async run(subject) {
      const instance = await subject.provision()
      await updated(subject, instance, { plan_id: subject.target.otherPlans[0]?.id })
      if (!subject.target.instancesRetrievable) return
      const { body } = await subject.getInstance(instance)
      expectSame(body.plan_id ?? instance.planId, instance.planId, 'plan_id after the update')
    }
  },
  {
    id: 'update/without-plan-keeps-the-plan',
    section,
    level: 'MUST',
    rule: 'Without plan_id the plan is not changed; without parameters neither are they.',
    skip: noUpdates,
    run: harmless(() => ({}))
  },
  {
    id: 'update/empty-parameters-change-nothing',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'parameters: {} changes nothing; Cloud Controller sends it with every update.',
    skip: noUpdates,
    run: harmless(() => ({ parameters: {} }))
  },
  {
    id: 'update/same-plan-is-no-change',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'plan_id may be that of the instance; Cloud Controller sends it with every update.',
    skip: noUpdates,
    run: harmless(({ plan }) => ({ plan_id: plan.id }))
  },
  {
    id: 'update/previous-values-are-hints',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'previous_values may hold maintenance_info: null, as Cloud Controller sends it.',
    skip: noUpdates,
    run: harmless(({ plan, service }) => ({
      previous_values: {
        plan_id: plan.id,
        service_id: service.id,
        organization_id: 'conformance-organization',
        space_id: 'conformance-space',
        maintenance_info: null
      }
    }))
  },
  {
    id: 'update/context-alone-is-taken',
    section,
    level: 'MUST',
    rule: 'Where allow_context_updates is declared, an update may hold nothing but a context.',
    skip: ({ contextUpdates }) => (contextUpdates ? undefined : 'the offering does not declare allow_context_updates'),
    async run(subject) {
      const instance = await subject.provision()
      const answer = await subject.patchInstance(instance, {
        context: { platform: 'conformance', instance_name: 'renamed' }
      })
      expectStatus(answer, [200, 202], 'an update of the context alone')
      const { state, last } = await subject.end(answer, { instanceId: instance.id })
      if (state !== 'succeeded') throw new Violation(`the update ended "${state}": ${descriptionOf(last)}`)
    }
  },
  {
    id: 'update/parameters-are-applied',
    section,
    level: 'MUST',
    rule: '200 or 202 for parameters that the schema of updates accepts, and they are those of the instance then.',
    skip: anyOf(unless.instancesRetrievable, ({ examples }) =>
      examples.update?.other === undefined ? 'the plan has no schema to make parameters of' : undefined
    ),
    async run(subject) {
      const instance = await subject.provision()
      const parameters = subject.target.examples.update?.other ?? {}
      await updated(subject, instance, { parameters })
      expectParameters(await subject.getInstance(instance), parameters)
    }
  },
  {
    id: 'update/unsupported-plan-change-answers-422',
    section,
    level: 'MUST',
    rule: '422 when the requested change is not supported.',
    skip: ({ planUpdateable, otherPlans }) =>
      planUpdateable || otherPlans.length === 0 ? 'the plan may be changed, or there is no other' : undefined,
    run: impossible([422], 'a change of plan that the catalog rules out', ({ otherPlans }) => ({
      plan_id: otherPlans[0]?.id
    }))
  },
  {
    id: 'update/unknown-plan-is-refused',
    section,
    level: 'MUST',
    rule: 'plan_id MUST be the id of a plan of the offering.',
    run: impossible([400, 404, 422], 'an update to an unknown plan', () => ({ plan_id: 'conformance-unknown' }))
  },
  {
    id: 'update/plan-of-another-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'plan_id MUST be the id of a plan of the offering that is requested.',
    skip: unless.otherService,
    run: impossible([400, 404, 422], 'an update to a plan of another offering', ({ otherService }) => ({
      plan_id: otherService?.plans[0]?.id
    }))
  },
  {
    id: 'update/unknown-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'service_id MUST be the id of an offering of the catalog.',
    run: impossible([400, 404, 422], 'an update that names an unknown offering', () => ({
      service_id: 'conformance-unknown',
      plan_id: 'conformance-unknown'
    }))
  },
  {
    id: 'update/unknown-instance-answers-404',
    section: 'Platforms',
    level: 'SHOULD',
    rule: '404, not 410, for an update of an unknown instance: 410 starts orphan mitigation.',
    skip: noUpdates,
    async run(subject) {
      const id = subject.newInstanceId()
      const body = { plan_id: subject.target.plan.id }
      const refusal = { status: 404, why: 'an update of an unknown instance', about: { instanceId: id } }
      await subject.refused(subject.updateRequest({ id }, body), refusal)
    }
  }
]
