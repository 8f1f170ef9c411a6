import { instancePath } from '../../../client/endpoint.ts'
import type { Check } from '../../check.ts'
import { expectStatus } from '../../expect.ts'
import type { Subject } from '../../subject.ts'

const version = 'API Version Header'
const catalog = { method: 'GET', path: '/v2/catalog' } as const

function refusedVersion(header: string | undefined, why: string) {
  return async (subject: Subject) => {
    const id = subject.newInstanceId()
    await subject.refused(
      { ...subject.provisionRequest({ id }), headers: { 'x-broker-api-version': header } },
      { status: [400, 412], why, about: { instanceId: id } }
    )
  }
}

const identityOf = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64')

const identities = [
  `cloudfoundry ${identityOf({ user_id: '683ea748-3092-4ff4-b656-39cacc4d5360' })}`,
  `kubernetes ${identityOf({ username: 'duke', uid: 'c2dde242', groups: ['admin', 'dev'], extra: { a: ['b'] } })}`,
  `conformance ${identityOf({ name: 'Zoë 🙂', nested: { list: [1, 2, 3] } })}`
]

/** Headers of every request (spec: Headers). */
export const headerChecks: readonly Check[] = [
  {
    id: 'api-version/missing-is-refused',
    section: version,
    level: 'SHOULD',
    rule: 'A request without X-Broker-API-Version is refused with 412 or 400: requests MUST contain it.',
    run: refusedVersion(undefined, 'a request without the version header')
  },
  {
    id: 'api-version/other-major-is-refused',
    section: version,
    level: 'SHOULD',
    rule: 'A version that is not supported is refused with 412.',
    async run(subject) {
      for (const header of ['1.0', '3.0', 'garbage']) {
        await refusedVersion(header, `a request of version ${header}`)(subject)
      }
    }
  },
  {
    id: 'api-version/other-minors-are-served',
    section: version,
    level: 'SHOULD',
    rule: 'Minor revisions are additive: requests of another minor are served.',
    async run(subject) {
      for (const header of ['2.14', '2.15', '2.16', '2.17', '2.18']) {
        const answer = await subject.send({ ...catalog, headers: { 'x-broker-api-version': header } })
        expectStatus(answer, 200, `the catalog for version ${header}`)
      }
    }
  },
  {
    id: 'identity/originating-identity-is-taken',
    section: 'Originating Identity',
    level: 'MUST',
    rule: 'A well-formed X-Broker-API-Originating-Identity is no obstacle, whatever the platform puts into it.',
    async run(subject) {
      const { id } = await subject.shared()
      for (const header of [undefined, ...identities]) {
        const headers = { 'x-broker-api-originating-identity': header }
        const again = await subject.send({ ...subject.provisionRequest({ id }), headers })
        expectStatus(again, [200, 202], `the same provision with the identity ${header}`)
      }
    }
  },
  {
    id: 'identity/request-identity-is-optional',
    section: 'Request Identity',
    level: 'MUST',
    rule: 'Platforms MAY send a request identity; without one a request is served.',
    async run(subject) {
      const answer = await subject.send({ ...catalog, headers: { 'x-broker-api-request-identity': undefined } })
      expectStatus(answer, 200, 'the catalog without a request identity')
    }
  },
  {
    id: 'identity/request-identity-may-be-any-text',
    section: 'Request Identity',
    level: 'SHOULD',
    rule: 'The request identity is a non-empty string; a GUID is only recommended.',
    async run(subject) {
      for (const header of ['e26cee84-6b38-4456-b34e-d1a9f002c956', '1', 'trace/7 of "a, b"; x=y']) {
        const answer = await subject.send({ ...catalog, headers: { 'x-broker-api-request-identity': header } })
        expectStatus(answer, 200, `the catalog with the request identity ${header}`)
      }
    }
  },
  {
    id: 'headers/unknown-ones-are-ignored',
    section: 'Vendor Extension Fields',
    level: 'MUST',
    rule: 'What is unknown is ignored: headers and query parameters.',
    async run(subject) {
      const { id } = await subject.shared()
      const request = subject.provisionRequest({ id })
      const answer = await subject.send({
        ...request,
        headers: { 'x-conformance-unknown': 'yes', 'x-api-info-location': 'https://api.example.com/v2/info' },
        query: { ...request.query, 'conformance-unknown': 'yes' }
      })
      expectStatus(answer, [200, 202], 'the same provision with an unknown header and query parameter')
    }
  },
  {
    id: 'content-type/without-a-body',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'GET and DELETE work with a Content-Type of JSON and no body: Korifi sends it with every request.',
    async run(subject) {
      const headers = { 'content-type': 'application/json' }
      expectStatus(await subject.send({ ...catalog, headers }), 200, 'GET with a JSON content type and no body')
      const { service, plan } = subject.target
      const answer = await subject.send({
        method: 'DELETE',
        path: instancePath(subject.newInstanceId()),
        query: { service_id: service.id, plan_id: plan.id, accepts_incomplete: 'true' },
        headers
      })
      expectStatus(answer, 410, 'DELETE of an unknown instance with a JSON content type and no body')
    }
  },
  {
    id: 'content-type/charset-is-taken',
    section: 'Content Type',
    level: 'SHOULD',
    rule: 'application/json may carry a charset.',
    async run(subject) {
      const { id } = await subject.shared()
      const headers = { 'content-type': 'application/json; charset=utf-8' }
      const answer = await subject.send({ ...subject.provisionRequest({ id }), headers })
      expectStatus(answer, [200, 202], 'the same provision with a charset in its content type')
    }
  },
  {
    id: 'content-type/another-answers-400',
    section: 'Content Type',
    level: 'SHOULD',
    rule: 'A body that is rejected for its Content-Type is answered 400.',
    async run(subject) {
      const id = subject.newInstanceId()
      const about = { instanceId: id }
      const { body, ...request } = subject.provisionRequest({ id })
      for (const type of ['text/plain', 'application/xml', 'application/x-www-form-urlencoded']) {
        const answer = await subject.send({ ...request, body: 'service_id=1', headers: { 'content-type': type } })
        expectStatus(answer, 400, `a provision of the content type ${type}`)
      }
      expectStatus(await subject.pollOnce(about), 404, 'a poll of an instance that was refused')
    }
  }
]
