import type { Check } from '../../check.ts'
import { expectStatus } from '../../expect.ts'

const section = 'Provisioning'

export const provisioningChecks: readonly Check[] = [
  {
    id: 'provision/identical-answers-200',
    section,
    level: 'SHOULD',
    rule: '200 for an instance that exists, is fully provisioned, and whose parameters are identical.',
    async run(subject) {
      const instance = await subject.shared()
      const again = await subject.putInstance({ id: instance.id })
      expectStatus(again, 200, 'the same provision once more')
    }
  },
  {
    id: 'provision/different-parameters-answer-409',
    section,
    level: 'MUST',
    rule: '409 when an instance with the same id exists but with different attributes.',
    async run(subject) {
      const { id } = await subject.shared()
      await subject.refused(
        {
          method: 'PUT',
          path: `/v2/service_instances/${id}`,
          query: { accepts_incomplete: 'true' },
          body: subject.provisionBody({ space_guid: 'another-space' })
        },
        { status: 409, why: 'a provision of the same id with another space', about: { instanceId: id } }
      )
    }
  }
]
