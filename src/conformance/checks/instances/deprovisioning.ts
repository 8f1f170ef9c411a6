import { instancePath } from '../../../client/endpoint.ts'
import { type Check, NotApplicable } from '../../check.ts'
import { expectSame, expectStatus, expectThat } from '../../expect.ts'
import type { Subject } from '../../subject.ts'
import { unless } from '../skips.ts'

const section = 'Deprovisioning'

/** A delete of the shared instance whose ids are not what they have to be. */
function malformed(ids: Record<string, string | undefined>, statuses: readonly number[]) {
  return async (subject: Subject) => {
    const { id, planId } = await subject.shared()
    const query = { service_id: subject.target.service.id, plan_id: planId, accepts_incomplete: 'true', ...ids }
    await subject.refused(
      { method: 'DELETE', path: instancePath(id), query },
      { status: statuses, why: 'a deprovision with wrong ids', about: { instanceId: id } }
    )
  }
}

export const deprovisioningChecks: readonly Check[] = [
  {
    id: 'deprovision/answers-an-empty-object',
    section,
    level: 'SHOULD',
    rule: '200 with {} when the instance was deleted as a result of the request.',
    async run(subject) {
      const answer = await subject.deprovision(await subject.provision())
      if (answer.status !== 200) throw new NotApplicable('the plan is deprovisioned later')
      expectSame(answer.json, {}, 'the body')
    }
  },
  {
    id: 'deprovision/unknown-answers-410',
    section,
    level: 'MUST',
    rule: '410 when the instance does not exist.',
    async run(subject) {
      const { plan } = subject.target
      const answer = await subject.deleteInstance({ id: subject.newInstanceId(), planId: plan.id })
      expectStatus(answer, 410, 'a deprovision of an unknown instance')
    }
  },
  {
    id: 'deprovision/twice-answers-410',
    section,
    level: 'MUST',
    rule: '410 when the instance does not exist any more.',
    async run(subject) {
      const instance = await subject.provision()
      await subject.deprovision(instance)
      // Orphan mitigation: Cloud Controller asks up to eleven times.
      for (let times = 0; times < 3; times += 1) {
        expectStatus(await subject.deleteInstance(instance), 410, 'a deprovision after the deprovision')
      }
    }
  },
  {
    id: 'deprovision/deleted-is-gone',
    section,
    level: 'MUST',
    rule: 'A deprovision deletes the instance: afterwards it can neither be fetched, nor updated, nor bound.',
    async run(subject) {
      const instance = await subject.provision()
      await subject.deprovision(instance)
      const { instancesRetrievable, bindable, plan } = subject.target
      if (instancesRetrievable) expectStatus(await subject.getInstance(instance), 404, 'fetching a deleted instance')
      const updated = await subject.patchInstance(instance, { plan_id: plan.id })
      expectThat(updated.status >= 400, `an update of a deleted instance was answered ${updated.status}`)
      if (!bindable) return
      const bound = await subject.putBinding(instance)
      expectThat(bound.status >= 400, `a bind of a deleted instance was answered ${bound.status}`)
    }
  },
  {
    id: 'deprovision/same-id-can-come-again',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'The id of a deleted instance may be used again, and nothing of the old one comes back.',
    async run(subject) {
      const { examples, instancesRetrievable } = subject.target
      const parameters = examples.create?.full
      const old = await subject.provision(parameters === undefined ? {} : { body: { parameters } })
      await subject.deprovision(old)
      const again = await subject.provision({ id: old.id })
      if (!instancesRetrievable) return
      const { body } = await subject.getInstance(again)
      expectSame(body.parameters ?? {}, subject.target.createParameters ?? body.parameters ?? {}, 'parameters')
    }
  },
  {
    id: 'deprovision/missing-service-id-answers-400',
    section,
    level: 'MUST',
    rule: '400 when service_id is missing.',
    run: malformed({ service_id: undefined }, [400])
  },
  {
    id: 'deprovision/missing-plan-id-answers-400',
    section,
    level: 'MUST',
    rule: '400 when plan_id is missing.',
    run: malformed({ plan_id: undefined }, [400])
  },
  {
    id: 'deprovision/empty-ids-answer-400',
    section,
    level: 'MUST',
    rule: '400 when service_id and plan_id are empty.',
    run: malformed({ service_id: '', plan_id: '' }, [400])
  },
  {
    id: 'deprovision/other-offering-is-refused',
    section,
    level: 'MUST',
    rule: 'service_id MUST be the id of the offering of the instance.',
    run: malformed({ service_id: 'conformance-unknown' }, [400, 404, 409, 422])
  },
  {
    id: 'deprovision/takes-bindings-along',
    section,
    level: 'SHOULD',
    rule: 'After a deprovision with bindings left nothing of them can be fetched any more.',
    skip: unless.bindingsRetrievable,
    async run(subject) {
      const instance = await subject.provision()
      const binding = await subject.bind(instance)
      const answer = await subject.deleteInstance(instance)
      if (answer.status >= 400) throw new NotApplicable('an instance with bindings is not deprovisioned')
      await subject.end(answer, { instanceId: instance.id })
      expectStatus(await subject.getBinding(binding), [404, 410], 'fetching a binding of a deleted instance')
    }
  }
]
