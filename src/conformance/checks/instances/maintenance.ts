import type { Check } from '../../check.ts'
import { expectStatus } from '../../expect.ts'
import { unless } from '../skips.ts'

const OTHER = '999.0.0-conformance'

/** `maintenance_info` of provisions and updates (spec: Provisioning, Updating a Service Instance). */
export const maintenanceChecks: readonly Check[] = [
  {
    id: 'provision/current-maintenance-info-is-taken',
    section: 'Provisioning',
    level: 'MUST',
    rule: "The catalog's own maintenance_info may be sent; any field but the version is ignored.",
    skip: unless.maintenance,
    async run(subject) {
      const info = subject.target.plan.maintenance_info
      const { created } = await subject.provision({ body: { maintenance_info: { ...info, description: 'ignored' } } })
      expectStatus(created, [201, 202], "a provision with the catalog's maintenance_info")
    }
  },
  {
    id: 'provision/other-maintenance-info-conflicts',
    section: 'Provisioning',
    level: 'MUST',
    rule: '422 MaintenanceInfoConflict when maintenance_info.version is not that of the catalog.',
    skip: unless.maintenance,
    async run(subject) {
      const id = subject.newInstanceId()
      await subject.refused(subject.provisionRequest({ id, body: { maintenance_info: { version: OTHER } } }), {
        status: 422,
        error: 'MaintenanceInfoConflict',
        why: 'a provision with another maintenance_info.version',
        about: { instanceId: id }
      })
    }
  },
  {
    id: 'provision/maintenance-info-of-a-plan-without-conflicts',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'A maintenance_info.version for a plan that has none is a MaintenanceInfoConflict.',
    skip: ({ plan }) => (plan.maintenance_info === undefined ? undefined : 'the plan has maintenance_info'),
    async run(subject) {
      const id = subject.newInstanceId()
      await subject.refused(subject.provisionRequest({ id, body: { maintenance_info: { version: '1.0.0' } } }), {
        status: 422,
        error: 'MaintenanceInfoConflict',
        why: 'a provision with a maintenance_info.version that the plan does not have',
        about: { instanceId: id }
      })
    }
  },
  {
    id: 'provision/empty-maintenance-info-is-absent',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'maintenance_info: {} is the same as none.',
    async run(subject) {
      const { id } = await subject.shared()
      const again = await subject.putInstance({ id, body: { maintenance_info: {} } })
      expectStatus(again, 200, 'the same provision with maintenance_info: {}')
    }
  },
  {
    id: 'update/other-maintenance-info-conflicts',
    section: 'Updating a Service Instance',
    level: 'MUST',
    rule: '422 MaintenanceInfoConflict when maintenance_info.version is not that of the catalog.',
    skip: unless.maintenance,
    async run(subject) {
      const { id } = await subject.shared()
      await subject.refused(subject.updateRequest({ id }, { maintenance_info: { version: OTHER } }), {
        status: 422,
        error: 'MaintenanceInfoConflict',
        why: 'an update with another maintenance_info.version',
        about: { instanceId: id }
      })
    }
  },
  {
    id: 'update/current-maintenance-info-is-taken',
    section: 'Updating a Service Instance',
    level: 'MUST',
    rule: "The catalog's own maintenance_info may be sent with an update.",
    skip: unless.maintenance,
    async run(subject) {
      const instance = await subject.provision()
      const answer = await subject.patchInstance(instance, {
        maintenance_info: { version: subject.target.plan.maintenance_info?.version }
      })
      expectStatus(answer, [200, 202], "an update to the catalog's maintenance_info")
      await subject.end(answer, { instanceId: instance.id })
    }
  }
]
