import { bindingPath } from '../../../client/endpoint.ts'
import { type Check, NotApplicable } from '../../check.ts'
import { expectParameters, expectSame, expectStatus, expectThat } from '../../expect.ts'
import { anyOf, unless } from '../skips.ts'

const section = 'Fetching a Service Binding'
const skip = unless.bindingsRetrievable

export const bindingFetchChecks: readonly Check[] = [
  {
    id: 'fetch-binding/succeeded-is-there',
    section,
    level: 'MUST',
    rule: 'A binding can be fetched as soon as last_operation says "succeeded".',
    skip,
    async run(subject) {
      const binding = await subject.bind(await subject.shared())
      const answer = await subject.getBinding(binding)
      expectStatus(answer, 200, 'fetching a binding that has just succeeded')
      if (binding.created.status !== 202) return
      const { credentials, syslog_drain_url: drain, route_service_url: route, volume_mounts: mounts } = answer.body
      const given = [credentials, drain, route, mounts].some((value) => value !== undefined)
      expectThat(given, 'a binding that was made asynchronously is fetched without credentials')
    }
  },
  {
    id: 'fetch-binding/credentials-are-those-of-the-bind',
    section,
    level: 'MUST',
    rule: 'The credentials that are fetched are those of the binding; each time, unless they are given only once.',
    skip,
    async run(subject) {
      const binding = await subject.sharedBinding()
      const [first, second] = [await subject.getBinding(binding), await subject.getBinding(binding)]
      const once = 'credentials are given only once'
      if (first.body.credentials === undefined) throw new NotApplicable(once)
      const { credentials } = binding.created.body
      if (credentials !== undefined) expectSame(first.body.credentials, credentials, 'credentials fetched')
      if (second.body.credentials === undefined) throw new NotApplicable(once)
      expectSame(second.body.credentials, first.body.credentials, 'credentials of the second fetch')
    }
  },
  {
    id: 'fetch-binding/hints-are-taken',
    section,
    level: 'MUST',
    rule: 'service_id and plan_id may be sent as hints.',
    skip,
    async run(subject) {
      const { id, instance } = await subject.sharedBinding()
      const query = { service_id: subject.target.service.id, plan_id: instance.planId }
      const answer = await subject.send({ method: 'GET', path: bindingPath(instance.id, id), query })
      expectStatus(answer, 200, 'fetching a binding with hints')
    }
  },
  {
    id: 'fetch-binding/parameters-are-those-sent',
    section,
    level: 'MUST',
    rule: 'Parameters that are returned are those of the binding.',
    skip: anyOf(skip, ({ examples }) =>
      Object.keys(examples.bind?.full ?? {}).length > 0 ? undefined : 'the plan has no schema to make parameters of'
    ),
    async run(subject) {
      const parameters = subject.target.examples.bind?.full ?? {}
      const binding = await subject.bind(await subject.shared(), { body: { parameters } })
      expectParameters(await subject.getBinding(binding), parameters)
    }
  },
  {
    id: 'fetch-binding/unknown-answers-404',
    section,
    level: 'MUST',
    rule: '404 when the binding does not exist.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const answer = await subject.getBinding({ id: subject.newBindingId(instance), instance })
      expectStatus(answer, 404, 'fetching an unknown binding')
    }
  },
  {
    id: 'fetch-binding/of-another-instance-answers-404',
    section,
    level: 'MUST',
    rule: 'binding_id MUST be the id of a binding of that instance; else it does not exist.',
    skip,
    async run(subject) {
      const { id } = await subject.sharedBinding()
      const instance = { id: subject.newInstanceId(), planId: subject.target.plan.id }
      expectStatus(await subject.getBinding({ id, instance }), 404, "fetching a binding by another instance's path")
    }
  },
  {
    id: 'fetch-binding/in-progress-answers-404',
    section,
    level: 'MUST',
    rule: '404 while a binding operation is in progress.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const id = subject.newBindingId(instance)
      const created = await subject.putBinding(instance, { id })
      if (created.status !== 202) throw new NotApplicable('the plan is bound at once')
      const resource = { instanceId: instance.id, bindingId: id }
      const answer = await subject.getBinding({ id, instance })
      const poll = await subject.pollOnce(resource)
      await subject.end(created, resource)
      if (poll.body.state !== 'in progress') throw new NotApplicable('the bind ended too soon')
      expectStatus(answer, 404, 'fetching a binding that is being made')
    }
  }
]
