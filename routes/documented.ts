/** What a route says of itself in the OpenAPI document; the operations are named as in that of the specification. */
export interface Documented {
  readonly tags: readonly ['Catalog' | 'ServiceInstances' | 'ServiceBindings' | 'Health']
  readonly operationId: string
  readonly summary: string
}

export const documented = {
  catalog: { tags: ['Catalog'], operationId: 'catalog.get', summary: 'Get the service offerings and plans' },
  provision: {
    tags: ['ServiceInstances'],
    operationId: 'serviceInstance.provision',
    summary: 'Provision a service instance'
  },
  fetchInstance: {
    tags: ['ServiceInstances'],
    operationId: 'serviceInstance.get',
    summary: 'Fetch a service instance'
  },
  update: { tags: ['ServiceInstances'], operationId: 'serviceInstance.update', summary: 'Update a service instance' },
  deprovision: {
    tags: ['ServiceInstances'],
    operationId: 'serviceInstance.deprovision',
    summary: 'Deprovision a service instance'
  },
  pollInstance: {
    tags: ['ServiceInstances'],
    operationId: 'serviceInstance.lastOperation.get',
    summary: 'Poll the last operation of a service instance'
  },
  bind: {
    tags: ['ServiceBindings'],
    operationId: 'serviceBinding.binding',
    summary: 'Make a service binding, or the successor of one'
  },
  fetchBinding: { tags: ['ServiceBindings'], operationId: 'serviceBinding.get', summary: 'Fetch a service binding' },
  unbind: { tags: ['ServiceBindings'], operationId: 'serviceBinding.unbinding', summary: 'Remove a service binding' },
  pollBinding: {
    tags: ['ServiceBindings'],
    operationId: 'serviceBinding.lastOperation.get',
    summary: 'Poll the last operation of a service binding'
  },
  alive: { tags: ['Health'], operationId: 'health.alive', summary: 'Whether the process lives' },
  ready: { tags: ['Health'], operationId: 'health.ready', summary: 'Whether it can serve' }
} as const satisfies Record<string, Documented>
