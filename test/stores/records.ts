import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  BindingRecord,
  InstanceRecord,
  OperationKind,
  OperationRecord,
  Start,
  Store
} from '../../src/core/store.ts'

/** `open` of a store for one test. */
export type Open = (options?: { leaseMs?: number }) => Promise<Store>

export const noEnqueue = async (): Promise<void> => {}

export function instanceRecord(fields: Partial<InstanceRecord> = {}): InstanceRecord {
  return {
    instanceId: 'i-1',
    platform: 'cf',
    provider: 'example',
    serviceId: 's-1',
    planId: 'p-1',
    organizationGuid: 'org-1',
    spaceGuid: 'space-1',
    context: { platform: 'cloudfoundry' },
    parameters: { size: 1 },
    status: 'creating',
    createdAt: new Date('2026-01-02T03:04:05.678Z'),
    updatedAt: new Date('2026-01-02T03:04:05.678Z'),
    ...fields
  }
}

export function bindingRecord(fields: Partial<BindingRecord> = {}): BindingRecord {
  return {
    instanceId: 'i-1',
    bindingId: 'b-1',
    platform: 'cf',
    serviceId: 's-1',
    planId: 'p-1',
    context: {},
    parameters: {},
    status: 'creating',
    createdAt: new Date('2026-01-02T03:04:05.678Z'),
    updatedAt: new Date('2026-01-02T03:04:05.678Z'),
    ...fields
  }
}

/** An asynchronous operation; one on a binding when the kind is. */
export function operationRecord(kind: OperationKind, fields: Partial<OperationRecord> = {}): OperationRecord {
  return {
    operationId: randomUUID(),
    kind,
    platform: 'cf',
    instanceId: 'i-1',
    ...(kind === 'bind' || kind === 'unbind' ? { bindingId: 'b-1' } : {}),
    state: 'in progress',
    async: true,
    internal: false,
    attempt: 0,
    deadline: new Date('2099-01-01T00:00:00Z'),
    createdAt: new Date('2026-01-02T03:04:05.678Z'),
    ...fields
  }
}

export function provisionStart(fields: Partial<OperationRecord> = {}, record: Partial<InstanceRecord> = {}): Start {
  const operation = operationRecord('provision', fields)
  return { operation, insertInstance: instanceRecord({ instanceId: operation.instanceId, ...record }) }
}

export function bindStart(bindingId: string, record: Partial<BindingRecord> = {}): Start {
  return { operation: operationRecord('bind', { bindingId }), insertBinding: bindingRecord({ bindingId, ...record }) }
}

/** A synchronous operation, as a request starts it: claimed from the beginning. */
export function synchronous(operation: OperationRecord): OperationRecord {
  return { ...operation, async: false, attempt: 1, startedAt: new Date(), leaseUntil: new Date(Date.now() + 9_000) }
}

/** Waits until `check` answers something other than `undefined` or `false`. */
export async function until<T>(what: string, check: () => Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + 10_000
  while (Date.now() < end) {
    const value = await check()
    if (value !== undefined && value !== false) return value
    await sleep(10)
  }
  throw new Error(`waited 10 s in vain until ${what}`)
}
