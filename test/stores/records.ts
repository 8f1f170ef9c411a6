import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type {
  BindingRecord,
  InstanceRecord,
  OperationKind,
  OperationRecord,
  OperationStart,
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

/** A new asynchronous operation; on a binding if its kind is. */
export function operationRecord(kind: OperationKind, fields: Partial<OperationStart> = {}): OperationStart {
  return {
    operationId: randomUUID(),
    kind,
    platform: 'cf',
    instanceId: 'i-1',
    ...(kind === 'bind' || kind === 'unbind' ? { bindingId: 'b-1' } : {}),
    async: true,
    internal: false,
    claimed: false,
    maximumMs: 3_600_000,
    ...fields
  }
}

export function provisionStart(fields: Partial<OperationStart> = {}, record: Partial<InstanceRecord> = {}): Start {
  const operation = operationRecord('provision', fields)
  return { operation, insertInstance: instanceRecord({ instanceId: operation.instanceId, ...record }) }
}

export function bindStart(bindingId: string, record: Partial<BindingRecord> = {}): Start {
  return { operation: operationRecord('bind', { bindingId }), insertBinding: bindingRecord({ bindingId, ...record }) }
}

/** The fields of a stored operation that its start determines; the rest of the record is the store's. */
export function startedFields(record: OperationRecord | undefined): Omit<OperationStart, 'maximumMs' | 'claimed'> {
  assert.ok(record !== undefined)
  const { state, attempt, ageMs, createdAt, deadline, startedAt, leaseUntil, ...fields } = record
  assert.equal(state, 'in progress')
  assert.ok(createdAt instanceof Date && deadline >= createdAt)
  assert.ok(ageMs >= 0)
  assert.equal(startedAt !== undefined, attempt > 0)
  assert.equal(leaseUntil !== undefined, attempt > 0)
  return fields
}

/** The same fields of the start itself. */
export function fieldsOf({ maximumMs: _, claimed: __, ...fields }: OperationStart) {
  return fields
}

/** A synchronous operation, as a request starts it: claimed from the beginning. */
export function synchronous(operation: OperationStart): OperationStart {
  return { ...operation, async: false, claimed: true }
}

/** How long a state may take to come, in milliseconds: a busy machine is slow, and a state that never comes is rare. */
const STATE_MS = 60_000

/** Waits until `check` answers something other than `undefined` or `false`. */
export async function until<T>(what: string, check: () => Promise<T | undefined | false>): Promise<T> {
  const end = Date.now() + STATE_MS
  while (Date.now() < end) {
    const value = await check()
    if (value !== undefined && value !== false) return value
    await sleep(10)
  }
  throw new Error(`waited ${STATE_MS / 1_000} s in vain until ${what}`)
}
