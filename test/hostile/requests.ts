import { type OsbClient, OsbError, waitForOperation } from '../../src/client/index.ts'
import { PLANS, SERVICE } from './hostile-scene.ts'

/** Every honest request, login and query ends within this time. */
export const BOUND_MS = 30_000

type Plan = keyof typeof PLANS

/** Requests of a platform, each up to the end of its operation. */
export class Requests {
  readonly #client: OsbClient
  readonly #plans = new Map<string, Plan>()

  constructor(client: OsbClient) {
    this.#client = client
  }

  async provision(instanceId: string, plan: Plan = 'small'): Promise<void> {
    this.#plans.set(instanceId, plan)
    const body = { ...this.#ids(instanceId), organization_guid: 'organization', space_guid: 'space' }
    await this.#settled({ instanceId }, await this.#client.provision(instanceId, body))
  }

  async update(instanceId: string, plan: Plan): Promise<void> {
    const body = { service_id: SERVICE, plan_id: PLANS[plan] }
    await this.#settled({ instanceId }, await this.#client.update(instanceId, body))
    this.#plans.set(instanceId, plan)
  }

  /** Answers the URI. */
  async bind(instanceId: string, bindingId: string, parameters: { role?: 'reader' } = {}): Promise<string> {
    const resource = { instanceId, bindingId }
    const answer = await this.#client.bind(resource, { ...this.#ids(instanceId), parameters })
    await this.#settled(resource, answer)
    const { credentials } = answer.status === 202 ? await this.#client.fetchBinding(resource) : answer.body
    return String(credentials?.uri)
  }

  async unbind(instanceId: string, bindingId: string): Promise<void> {
    const ids = this.#ids(instanceId)
    await this.#removed({ instanceId, bindingId }, () => this.#client.unbind({ instanceId, bindingId }, ids))
  }

  async deprovision(instanceId: string): Promise<void> {
    const ids = this.#ids(instanceId)
    await this.#removed({ instanceId }, () => this.#client.deprovision(instanceId, ids))
  }

  #ids(instanceId: string) {
    return { service_id: SERVICE, plan_id: PLANS[this.#plans.get(instanceId) ?? 'small'] }
  }

  async #removed(resource: Resource, send: () => Promise<Sent>): Promise<void> {
    try {
      await this.#settled(resource, await send(), true)
    } catch (error) {
      if (!(error instanceof OsbError && error.status === 410)) throw error
    }
  }

  async #settled(resource: Resource, { status, operation }: Sent, removes = false): Promise<void> {
    if (status === 202) await waitForOperation(this.#client, resource, { operation, removes, timeoutMs: BOUND_MS })
  }
}

interface Resource {
  readonly instanceId: string
  readonly bindingId?: string
}

interface Sent {
  readonly status: number
  readonly operation?: string
}
