import { randomUUID } from 'node:crypto'
import { Client } from 'pg'
import { plans, serviceId } from './catalog.ts'
import { asynchronous, type Known, type Life, mustSucceed } from './life.ts'

/** Random lives of real databases. */
export class DatabaseLives {
  readonly #life: Life

  constructor(life: Life) {
    this.#life = life
  }

  async live(instanceId: string, goOn: () => boolean): Promise<void> {
    const { random } = this.#life
    const path = `/v2/service_instances/${instanceId}`
    if (random.chance(0.2)) return this.#cancelledLife(instanceId, path)
    if (!(await this.#provision(instanceId, path))) return
    const steps = random.between(2, 5)
    for (let step = 0; step < steps && goOn(); step += 1) await this.#change(instanceId, path)
    // Some are left alive, with what they have: the end must find them unharmed.
    if (random.chance(0.15)) return
    if (random.chance(0.7)) await this.#unbindAll(instanceId, path)
    await this.#deprovision(instanceId, path)
  }

  /** Binds a database that has no binding. */
  async bindOnce(instanceId: string): Promise<void> {
    const known = this.#life.known.get(instanceId)
    if (known?.serviceId !== serviceId) return
    const path = `/v2/service_instances/${instanceId}`
    for (let tries = 0; known.bindings.size === 0 && tries < 3; tries += 1) await this.#bind(path, known)
  }

  async #provision(instanceId: string, path: string): Promise<boolean> {
    const { random, platform, known } = this.#life
    const planId = random.pick([plans.small, plans.large])
    const body = { service_id: serviceId, plan_id: planId, organization_guid: 'org', space_guid: 'space' }
    const query = random.chance(0.8) ? `?${asynchronous}` : ''
    const { answer, state } = await platform.settle('PUT', path + query, body)
    if (state === 'succeeded') {
      known.set(instanceId, { serviceId, planId, bindings: new Map() })
      return true
    }
    if (mustSucceed(query, state)) platform.violate(`PUT ${path} came to ${state}: ${JSON.stringify(answer)}`)
    await this.#deprovision(instanceId, path)
    return false
  }

  /** A delete in the middle of a create, and sometimes the create again under the same id. */
  async #cancelledLife(instanceId: string, path: string): Promise<void> {
    const { random, platform } = this.#life
    const body = { service_id: serviceId, plan_id: plans.small, organization_guid: 'org', space_guid: 'space' }
    const { status, body: told } = await platform.send('PUT', `${path}?${asynchronous}`, body)
    await this.#deprovision(instanceId, path)
    if (status === 202) await platform.poll(path, String(told.operation))
    if (random.chance(0.5)) await this.#provision(instanceId, path)
  }

  async #change(instanceId: string, path: string): Promise<void> {
    const { random } = this.#life
    const known = this.#life.known.get(instanceId)
    if (known === undefined) return
    if (random.chance(0.25)) return this.#update(path, known)
    if (random.chance(0.3) && known.bindings.size > 0)
      return this.#unbind(path, known, random.pick([...known.bindings.keys()]))
    return this.#bind(path, known)
  }

  async #update(path: string, known: Known): Promise<void> {
    const { random, platform } = this.#life
    const planId = known.planId === plans.small ? plans.large : plans.small
    const query = random.chance(0.8) ? `?${asynchronous}` : ''
    const body = { service_id: serviceId, plan_id: planId }
    const { answer, state } = await platform.settle('PATCH', path + query, body)
    if (mustSucceed(query, state)) platform.violate(`PATCH ${path} came to ${state}: ${JSON.stringify(answer)}`)
    if (state === 'succeeded') known.planId = planId
  }

  async #bind(path: string, known: Known): Promise<void> {
    const { random, platform } = this.#life
    const bindingId = randomUUID()
    const binding = `${path}/service_bindings/${bindingId}`
    const query = random.chance(0.7) ? `?${asynchronous}` : ''
    const body = { service_id: serviceId, plan_id: known.planId }
    const { answer, state } = await platform.settle('PUT', binding + query, body)
    if (mustSucceed(query, state)) platform.violate(`PUT ${binding} came to ${state}: ${JSON.stringify(answer)}`)
    if (state !== 'succeeded') return this.#unbind(path, known, bindingId)
    const fetched = await platform.send('GET', binding)
    if (fetched.status !== 200) {
      platform.violate(`GET ${binding} after success answered ${fetched.status}`)
      return
    }
    known.bindings.set(bindingId, fetched.body.credentials as Record<string, unknown>)
  }

  async #unbind(path: string, known: Known, bindingId: string): Promise<void> {
    await this.#remove(`${path}/service_bindings/${bindingId}`, known.planId)
    known.bindings.delete(bindingId)
  }

  async #unbindAll(instanceId: string, path: string): Promise<void> {
    const known = this.#life.known.get(instanceId)
    if (known === undefined) return
    for (const bindingId of known.bindings.keys()) await this.#unbind(path, known, bindingId)
  }

  async #deprovision(instanceId: string, path: string): Promise<void> {
    await this.#remove(path, this.#life.known.get(instanceId)?.planId ?? plans.small)
    this.#life.known.delete(instanceId)
  }

  async #remove(path: string, planId: string): Promise<void> {
    const { random, platform } = this.#life
    const query = random.chance(0.7) ? `&${asynchronous}` : ''
    await platform.remove(path, `service_id=${serviceId}&plan_id=${planId}${query}`)
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
