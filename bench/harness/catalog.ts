/** Ids of {@link benchCatalog}. */
export const ids = {
  service: 'bench-service',
  sync: 'bench-sync',
  async: 'bench-async',
  waiting: 'bench-waiting'
} as const

/** Plans of the provider `example`, which does nothing and takes no time but where it says so. */
export const benchCatalog = {
  services: [
    {
      id: ids.service,
      name: 'bench',
      description: 'What the framework costs',
      bindable: true,
      instances_retrievable: true,
      bindings_retrievable: true,
      'x-broker': { provider: 'example' },
      plans: [
        plan(ids.sync, { mode: 'sync' }),
        plan(ids.async, { mode: 'async' }),
        plan(ids.waiting, { mode: 'async', options: { delay_ms: 3_600_000 } })
      ]
    }
  ]
}

function plan(id: string, extension: object) {
  return { id, name: id, description: id, 'x-broker': extension }
}

export function provisionBody(planId: string): string {
  return JSON.stringify({ service_id: ids.service, plan_id: planId, organization_guid: 'org', space_guid: 'space' })
}

export function bindBody(planId: string): string {
  return JSON.stringify({ service_id: ids.service, plan_id: planId })
}
