import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { exampleServiceId, plans, serviceId } from './catalog.ts'
import type { Replica } from './replicas.ts'
import type { Scene } from './scene.ts'

/** Milliseconds. */
export type Sample = number

const WAIT_MS = 60_000

/** Times of what the guarantees promise, taken from the operations table and the clock of the one server. */
export class Measures {
  readonly #scene: Scene
  readonly #state: Client

  private constructor(scene: Scene, state: Client) {
    this.#scene = scene
    this.#state = state
  }

  static async open(scene: Scene): Promise<Measures> {
    const state = new Client({ connectionString: scene.stateUrl })
    await state.connect()
    return new Measures(scene, state)
  }

  close(): Promise<void> {
    return this.#state.end()
  }

  /** From the commit that accepted an operation to the begin of its first attempt, for `count` provisions one by one. */
  async acceptanceToStart(count: number): Promise<Sample[]> {
    const samples: Sample[] = []
    for (let index = 0; index < count; index += 1) {
      const operation = await this.#provision(this.#replica(index), { service: serviceId, plan: plans.small })
      const row = await this.#until(operation.id, ({ state }) => state === 'succeeded')
      samples.push(Number(row.started_after_ms))
    }
    return samples
  }

  /** From the death of the replica that runs an operation to the begin of the next attempt; polls must see nothing. */
  async takeover(): Promise<{ sample: Sample; seen: Set<string>; attempts: number }> {
    const asked = this.#replica(0)
    const operation = await this.#provision(asked, { service: exampleServiceId, plan: plans.slow })
    await this.#until(operation.id, ({ attempt }) => attempt === 1)
    const worker = await this.#workerOf(operation.id)
    const seen = new Set<string>()
    const survivor = this.#scene.replicas.find((replica) => replica !== worker) ?? asked
    const began = Date.now()
    await worker.end('SIGKILL')
    while ((await this.#row(operation.id)).attempt === 1) {
      seen.add(await this.#poll(survivor, operation))
      await sleep(50)
    }
    const sample = Date.now() - began
    await worker.start()
    const { attempt } = await this.#row(operation.id)
    await this.#remove(survivor, operation.instanceId)
    return { sample, seen, attempts: attempt }
  }

  /** From the answer to a DELETE at one replica to the moment when the create on another has let go. */
  async cancel(): Promise<Sample> {
    const operation = await this.#provision(this.#replica(0), { service: exampleServiceId, plan: plans.slow })
    await this.#until(operation.id, ({ attempt }) => attempt === 1)
    const worker = await this.#workerOf(operation.id)
    const other = this.#scene.replicas.find((replica) => replica !== worker) ?? worker
    const began = Date.now()
    await this.#remove(other, operation.instanceId)
    await this.#until(operation.id, ({ state, leased }) => state === 'failed' && !leased)
    return Date.now() - began
  }

  /** From the acceptance of a DELETE at one replica to the beginning of its work, while another one runs the create. */
  async deleteToWork(): Promise<Sample> {
    const operation = await this.#provision(this.#replica(0), { service: exampleServiceId, plan: plans.slow })
    await this.#until(operation.id, ({ attempt }) => attempt === 1)
    const worker = await this.#workerOf(operation.id)
    const other = this.#scene.replicas.find((replica) => replica !== worker) ?? worker
    const deletion = await this.#remove(other, operation.instanceId)
    const row = await this.#until(deletion, ({ started_after_ms }) => started_after_ms !== null)
    await this.#until(deletion, ({ state }) => state === 'succeeded')
    return Number(row.started_after_ms)
  }

  /** Freezes the replica that runs an operation until another has finished it, thaws it, and answers the rows. */
  async freeze(): Promise<{ before: object; after: object; log: Replica }> {
    const operation = await this.#provision(this.#replica(0), { service: exampleServiceId, plan: plans.slow })
    await this.#until(operation.id, ({ attempt }) => attempt === 1)
    const worker = await this.#workerOf(operation.id)
    worker.signal('SIGSTOP')
    const before = await this.#until(operation.id, ({ state }) => state === 'succeeded')
    worker.signal('SIGCONT')
    // Its timers have long run out: it finishes its attempt at once, and is told that it is stale.
    await sleep(3_000)
    const after = await this.#row(operation.id)
    await this.#remove(this.#replica(0), operation.instanceId)
    return { before, after, log: worker }
  }

  #replica(index: number): Replica {
    const replica = this.#scene.replicas[index % this.#scene.replicas.length]
    if (replica === undefined) throw new Error('no replicas')
    return replica
  }

  async #provision(replica: Replica, { service, plan }: { service: string; plan: string }) {
    const instanceId = randomUUID()
    const response = await fetch(`${replica.url}/v2/service_instances/${instanceId}?accepts_incomplete=true`, {
      method: 'PUT',
      headers: this.#scene.headers,
      body: JSON.stringify({ service_id: service, plan_id: plan, organization_guid: 'org', space_guid: 'space' })
    })
    const body = (await response.json()) as { operation?: string }
    if (response.status !== 202 || body.operation === undefined) throw new Error(`PUT answered ${response.status}`)
    return { id: body.operation, instanceId }
  }

  async #poll(replica: Replica, { id, instanceId }: { id: string; instanceId: string }): Promise<string> {
    const url = `${replica.url}/v2/service_instances/${instanceId}/last_operation?operation=${id}`
    const response = await fetch(url, { headers: this.#scene.headers })
    return String(((await response.json()) as { state?: string }).state)
  }

  /** Returns the id of the operation. */
  async #remove(replica: Replica, instanceId: string): Promise<string> {
    const query = `service_id=${exampleServiceId}&plan_id=${plans.slow}&accepts_incomplete=true`
    const url = `${replica.url}/v2/service_instances/${instanceId}?${query}`
    const response = await fetch(url, { method: 'DELETE', headers: this.#scene.headers })
    const body = (await response.json()) as { operation?: string }
    if (response.status !== 202 || body.operation === undefined) throw new Error(`DELETE answered ${response.status}`)
    return body.operation
  }

  /** Which replica works on it: they log it, and nobody else does. */
  async #workerOf(operationId: string): Promise<Replica> {
    for (const end = Date.now() + WAIT_MS; Date.now() < end; await sleep(50)) {
      for (const replica of this.#scene.replicas) {
        if ((await replica.logged(`"operation":"${operationId}"`, 'attempt 1 begins')) === true) return replica
      }
    }
    throw new Error(`no replica works on ${operationId}`)
  }

  async #until(operationId: string, condition: (row: OperationRow) => boolean): Promise<OperationRow> {
    for (const end = Date.now() + WAIT_MS; ; await sleep(10)) {
      const row = await this.#row(operationId)
      if (condition(row)) return row
      if (Date.now() > end) throw new Error(`waited ${WAIT_MS} ms in vain: ${JSON.stringify(row)}`)
    }
  }

  async #row(operationId: string): Promise<OperationRow> {
    const { rows } = await this.#state.query<OperationRow>(
      `SELECT state, attempt, description, finished_at, lease_until > clock_timestamp() AS leased,
        extract(epoch FROM started_at - created_at) * 1000 AS started_after_ms
      FROM osb.operations WHERE operation_id = $1`,
      [operationId]
    )
    const [row] = rows
    if (row === undefined) throw new Error(`no operation ${operationId}`)
    return row
  }
}

interface OperationRow {
  readonly state: string
  readonly attempt: number
  readonly description: string | null
  readonly finished_at: Date | null
  readonly leased: boolean | null
  readonly started_after_ms: string | null
}
