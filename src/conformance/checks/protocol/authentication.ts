import { bindingPath, instancePath } from '../../../client/endpoint.ts'
import { type Check, NotApplicable } from '../../check.ts'
import type { Sent } from '../../exchange.ts'
import { expectStatus } from '../../expect.ts'
import type { Subject } from '../../subject.ts'

const section = 'Platform to Service Broker Authentication'

/** One request of each endpoint, about things that are not there. */
function oneOfEach(subject: Subject): readonly Sent[] {
  const id = subject.newInstanceId()
  const instance = { id, planId: subject.target.plan.id }
  const binding = { id: subject.newBindingId(instance), instance }
  const paths = [instancePath(id), bindingPath(id, binding.id)]
  return [
    { method: 'GET', path: '/v2/catalog' },
    subject.provisionRequest({ id }),
    subject.updateRequest(instance, {}),
    subject.deprovisionRequest(instance),
    subject.bindRequest(instance, { id: binding.id }),
    subject.unbindRequest(binding),
    ...paths.flatMap((path) => [
      { method: 'GET', path },
      { method: 'GET', path: `${path}/last_operation` }
    ])
  ]
}

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`

function refused(what: string, authorization: (own: string) => string | undefined) {
  return async (subject: Subject) => {
    const own = subject.authorization
    if (own === undefined) throw new NotApplicable('the run has no credentials')
    for (const request of oneOfEach(subject)) {
      const answer = await subject.send({ ...request, headers: { authorization: authorization(own) } })
      expectStatus(answer, 401, `${request.method} ${request.path} with ${what}`)
    }
  }
}

export const authenticationChecks: readonly Check[] = [
  {
    id: 'auth/none-answers-401',
    section,
    level: 'MUST',
    rule: '401 to every request when the authentication fails: there is none.',
    run: refused('no credentials', () => undefined)
  },
  {
    id: 'auth/wrong-password-answers-401',
    section,
    level: 'MUST',
    rule: '401 to every request when the authentication fails: the password is wrong.',
    run: refused('a wrong password', (own) => {
      const [name = ''] = Buffer.from(own.replace(/^Basic /, ''), 'base64')
        .toString()
        .split(':')
      return basic(`${name}:conformance-wrong`)
    })
  },
  {
    id: 'auth/unknown-name-answers-401',
    section,
    level: 'MUST',
    rule: '401 to every request when the authentication fails: the name is unknown.',
    run: refused('an unknown name', () => basic('conformance-unknown:conformance-wrong'))
  },
  {
    id: 'auth/malformed-answers-401',
    section,
    level: 'MUST',
    rule: '401 when the authentication fails: the header is malformed, or of another scheme.',
    async run(subject) {
      if (subject.authorization === undefined) throw new NotApplicable('the run has no credentials')
      for (const authorization of [
        'Basic',
        'Basic %%%',
        `Basic ${Buffer.from('nocolon').toString('base64')}`,
        'Bearer x',
        'x'
      ]) {
        const answer = await subject.send({ method: 'GET', path: '/v2/catalog', headers: { authorization } })
        expectStatus(answer, 401, `the catalog with "Authorization: ${authorization}"`)
      }
    }
  },
  {
    id: 'auth/comes-before-the-version',
    section: 'Platforms',
    level: 'SHOULD',
    rule: '401 comes before 412: who is not let in learns nothing else.',
    async run(subject) {
      if (subject.authorization === undefined) throw new NotApplicable('the run has no credentials')
      const headers = { authorization: undefined, 'x-broker-api-version': undefined }
      const answer = await subject.send({ method: 'GET', path: '/v2/catalog', headers })
      expectStatus(answer, 401, 'the catalog with neither credentials nor version')
    }
  }
]
