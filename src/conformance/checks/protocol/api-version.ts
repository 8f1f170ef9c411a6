import type { Check } from '../../check.ts'

const section = 'API Version Header'

export const apiVersionChecks: readonly Check[] = [
  {
    id: 'api-version/missing-is-refused',
    section,
    level: 'SHOULD',
    rule: 'A request without X-Broker-API-Version is refused with 412, or 400.',
    async run(subject) {
      const id = subject.newInstanceId()
      await subject.refused(
        {
          method: 'PUT',
          path: `/v2/service_instances/${id}`,
          headers: { 'x-broker-api-version': undefined },
          body: subject.provisionBody()
        },
        { status: [412, 400], why: 'a request without the version header', about: { instanceId: id } }
      )
    }
  }
]
