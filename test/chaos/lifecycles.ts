import { randomUUID } from 'node:crypto'
import { Client } from 'pg'
import type { Platform } from './platform.ts'
import type { Random } from './random.ts'
import { plans, serviceId } from './scene.ts'

/** What a client has been told of one instance that it still has. */
export interface Known {
  planId: string
  /** Credentials by binding id. */
  readonly bindings: Map<string, Record<string, unknown>>
}

const asynchronous = 'accepts_incomplete=true'

/** Goes through random lives of instances until told to stop, and remembers what it was told. */
export class Tenant {
  readonly #platform: Platform
  readonly #random: Random
  readonly known = new Map<string, Known>()
  lives = 0

  constructor(platform: Platform, random: Random) {
    this.#platform = platform
    this.#random = random
  }

  async run(goOn: () => boolean): Promise<void> {
    while (goOn()) {
      await this.#live(goOn)
      this.lives += 1
    }
  }

  /** Gives every instance that is left a binding, by which its database can be told. */
  async bindAll(): Promise<void> {
    for (const [instanceId, known] of this.known) {
      const path = `/v2/service_instances/${instanceId}`
      for (let tries = 0; known.bindings.size === 0 && tries < 3; tries += 1) await this.#bind(path, known)
    }
  }

  async #live(goOn: () => boolean): Promise<void> {
    const instanceId = randomUUID()
    const path = `/v2/service_instances/${instanceId}`
    if (this.#random.chance(0.2)) return this.#haltedLife(path)
    if (!(await this.#provision(instanceId, path))) return
    const steps = this.#random.between(2, 5)
    for (let step = 0; step < steps && goOn(); step += 1) await this.#change(instanceId, path)
    // Some are left alive, with what they have: the end must find them unharmed.
    if (this.#random.chance(0.15)) return
    if (this.#random.chance(0.7)) await this.#unbindAll(instanceId, path)
    await this.#deprovision(instanceId, path)
  }

  async #provision(instanceId: string, path: string): Promise<boolean> {
    const planId = this.#random.pick([plans.small, plans.large])
    const body = { service_id: serviceId, plan_id: planId, organization_guid: 'org', space_guid: 'space' }
    const query = this.#random.chance(0.8) ? `?${asynchronous}` : ''
    const { answer, state } = await this.#platform.settle('PUT', path + query, body)
    if (state === 'succeeded') {
      this.known.set(instanceId, { planId, bindings: new Map() })
      return true
    }
    if (state === 'refused')
      this.#platform.violate(`PUT ${path} answered ${answer.status} ${JSON.stringify(answer.body)}`)
    await this.#deprovision(instanceId, path)
    return false
  }

  /** A delete in the middle of a create, and sometimes the create again under the same id. */
  async #haltedLife(path: string): Promise<void> {
    const body = { service_id: serviceId, plan_id: plans.small, organization_guid: 'org', space_guid: 'space' }
    const { status, body: told } = await this.#platform.send('PUT', `${path}?${asynchronous}`, body)
    const instanceId = path.split('/').at(-1) ?? ''
    await this.#deprovision(instanceId, path)
    if (status === 202) await this.#platform.poll(path, String(told.operation))
    if (this.#random.chance(0.5)) await this.#provision(instanceId, path)
  }

  async #change(instanceId: string, path: string): Promise<void> {
    const known = this.known.get(instanceId)
    if (known === undefined) return
    if (this.#random.chance(0.25)) return this.#update(path, known)
    if (this.#random.chance(0.3) && known.bindings.size > 0)
      return this.#unbind(path, known, this.#random.pick([...known.bindings.keys()]))
    return this.#bind(path, known)
  }

  async #update(path: string, known: Known): Promise<void> {
    const planId = known.planId === plans.small ? plans.large : plans.small
    const query = this.#random.chance(0.8) ? `?${asynchronous}` : ''
    const { state } = await this.#platform.settle('PATCH', path + query, { service_id: serviceId, plan_id: planId })
    if (state === 'succeeded') known.planId = planId
  }

  async #bind(path: string, known: Known): Promise<void> {
    const bindingId = randomUUID()
    const binding = `${path}/service_bindings/${bindingId}`
    const query = this.#random.chance(0.7) ? `?${asynchronous}` : ''
    const body = { service_id: serviceId, plan_id: known.planId }
    const { answer, state } = await this.#platform.settle('PUT', binding + query, body)
    if (state === 'refused')
      this.#platform.violate(`PUT ${binding} answered ${answer.status} ${JSON.stringify(answer.body)}`)
    if (state !== 'succeeded') return this.#unbind(path, known, bindingId)
    const fetched = await this.#platform.send('GET', binding)
    if (fetched.status !== 200) {
      this.#platform.violate(`GET ${binding} after success answered ${fetched.status}`)
      return
    }
    known.bindings.set(bindingId, fetched.body.credentials as Record<string, unknown>)
  }

  async #unbind(path: string, known: Known, bindingId: string): Promise<void> {
    const binding = `${path}/service_bindings/${bindingId}`
    await this.#remove(binding, known.planId)
    known.bindings.delete(bindingId)
  }

  async #unbindAll(instanceId: string, path: string): Promise<void> {
    const known = this.known.get(instanceId)
    for (const bindingId of known?.bindings.keys() ?? []) if (known) await this.#unbind(path, known, bindingId)
  }

  async #deprovision(instanceId: string, path: string): Promise<void> {
    await this.#remove(path, this.known.get(instanceId)?.planId ?? plans.small)
    this.known.delete(instanceId)
  }

  /** Deletes until it is gone, as orphan mitigation does. */
  async #remove(path: string, planId: string): Promise<void> {
    const query = `service_id=${serviceId}&plan_id=${planId}${this.#random.chance(0.7) ? `&${asynchronous}` : ''}`
    for (let tries = 0; tries < 11; tries += 1) {
      const { answer, state } = await this.#platform.settle('DELETE', `${path}?${query}`)
      if (state === 'succeeded' || answer.status === 410) return
    }
    this.#platform.violate(`DELETE ${path} did not come to an end in 11 tries`)
  }
}

/** Opens a session with the credentials; `undefined` when that worked. */
export async function cannotConnect(credentials: Record<string, unknown>): Promise<string | undefined> {
  const client = new Client({ connectionString: String(credentials.uri), connectionTimeoutMillis: 10_000 })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query('CREATE TABLE IF NOT EXISTS proof (id int)')
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  } finally {
    await client.end().catch(() => undefined)
  }
}
