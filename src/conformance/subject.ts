import { randomUUID } from 'node:crypto'
import type { JsonObject } from '../../schemas/common.ts'
import { bindingPath, instancePath } from '../client/endpoint.ts'
import { Violation } from './check.ts'
import type { Exchange, Sent, Wire } from './exchange.ts'
import { expectError, expectStatus } from './expect.ts'
import { type Ended, endOf, type PollOptions, type Resource } from './polling.ts'
import type { Refusals } from './refusals.ts'
import type { Target } from './target.ts'
import type { Binding, BindingRef, Instance, InstanceRef, Traces } from './traces.ts'

/** How a request is to be answered: `async` sends `accepts_incomplete=true`, as every platform does. */
export type Manner = 'async' | 'sync'

export interface ProvisionOptions {
  readonly id?: string
  /** Laid over the usual body. */
  readonly body?: JsonObject
  readonly manner?: Manner
}

export interface BindOptions extends ProvisionOptions {
  readonly id?: string
}

/** What a refusal must look like, and whose state it must leave alone. */
export interface Refusal {
  readonly status: number | readonly number[]
  readonly error?: string
  readonly why: string
  /** The resource that the request was about, when nothing else changes it meanwhile; it may be absent. */
  readonly about?: Resource
}

export interface SubjectParts {
  readonly target: Target
  readonly wire: Wire
  readonly traces: Traces
  readonly refusals: Refusals
  readonly poll: PollOptions
}

/** The broker under test as a check sees it: requests, and whole operations for what comes before the point of a check. */
export class Subject {
  readonly target: Target
  readonly #parts: SubjectParts
  #shared: Promise<Instance> | undefined
  #sharedBinding: Promise<Binding> | undefined

  constructor(parts: SubjectParts) {
    this.target = parts.target
    this.#parts = parts
  }

  /** The `Authorization` that every request carries; `undefined` when the run has no credentials. */
  get authorization(): string | undefined {
    return this.#parts.wire.authorization
  }

  /** Sends one request. What it may make needs an id of {@link newInstanceId} or {@link newBindingId}. */
  send(sent: Sent): Promise<Exchange> {
    return this.#parts.wire.send(sent)
  }

  /** Body of a provision of the plan under test. */
  provisionBody(more: JsonObject = {}): JsonObject {
    const { service, plan, createParameters } = this.target
    return {
      service_id: service.id,
      plan_id: plan.id,
      organization_guid: 'conformance-organization',
      space_guid: 'conformance-space',
      context: { platform: 'conformance' },
      ...(createParameters === undefined ? {} : { parameters: createParameters }),
      ...more
    }
  }

  /** Body of a bind of the plan under test; with an app, since some plans take nothing else. */
  bindBody(more: JsonObject = {}): JsonObject {
    const { service, plan, bindParameters } = this.target
    return {
      service_id: service.id,
      plan_id: plan.id,
      bind_resource: { app_guid: 'conformance-app' },
      context: { platform: 'conformance' },
      ...(bindParameters === undefined ? {} : { parameters: bindParameters }),
      ...more
    }
  }

  /** Body of an update that asks for nothing. */
  updateBody(more: JsonObject = {}): JsonObject {
    return { service_id: this.target.service.id, ...more }
  }

  /** Query of a delete of something of the plan under test, or of the plan that the instance has by now. */
  deleteQuery(instance?: InstanceRef, manner: Manner = 'async'): Record<string, string> {
    const planId = instance?.planId ?? this.target.plan.id
    return { service_id: this.target.service.id, plan_id: planId, ...mannerQuery(manner) }
  }

  /** A `PUT` of an instance; whatever it makes is removed after the check. */
  provisionRequest({ id = randomUUID(), body, manner = 'async' }: ProvisionOptions = {}): Sent {
    this.#parts.traces.expectInstance(id)
    return { method: 'PUT', path: instancePath(id), query: mannerQuery(manner), body: this.provisionBody(body) }
  }

  /** A `PUT` of a binding; whatever it makes is removed after the check. */
  bindRequest(instance: InstanceRef, { id = randomUUID(), body, manner = 'async' }: BindOptions = {}): Sent {
    this.#parts.traces.expectBinding(instance.id, id)
    const path = bindingPath(instance.id, id)
    return {
      method: 'PUT',
      path,
      query: mannerQuery(manner),
      body: this.bindBody({ plan_id: instance.planId, ...body })
    }
  }

  /** A `PATCH` of an instance. */
  updateRequest(instance: Pick<InstanceRef, 'id'>, body: JsonObject, manner: Manner = 'async'): Sent {
    return { method: 'PATCH', path: instancePath(instance.id), query: mannerQuery(manner), body: this.updateBody(body) }
  }

  /** A `DELETE` of an instance. */
  deprovisionRequest(instance: InstanceRef, manner: Manner = 'async'): Sent {
    return { method: 'DELETE', path: instancePath(instance.id), query: this.deleteQuery(instance, manner) }
  }

  /** A `DELETE` of a binding. */
  unbindRequest({ id, instance }: BindingRef, manner: Manner = 'async'): Sent {
    return { method: 'DELETE', path: bindingPath(instance.id, id), query: this.deleteQuery(instance, manner) }
  }

  /** One `PUT` of an instance. */
  putInstance(options?: ProvisionOptions): Promise<Exchange> {
    return this.send(this.provisionRequest(options))
  }

  /** One `PUT` of a binding. */
  putBinding(instance: InstanceRef, options?: BindOptions): Promise<Exchange> {
    return this.send(this.bindRequest(instance, options))
  }

  /** One `PATCH` of an instance. */
  patchInstance(instance: InstanceRef, body: JsonObject, manner: Manner = 'async'): Promise<Exchange> {
    return this.send(this.updateRequest(instance, body, manner))
  }

  /** One `DELETE` of an instance. */
  deleteInstance(instance: InstanceRef, manner: Manner = 'async'): Promise<Exchange> {
    return this.send(this.deprovisionRequest(instance, manner))
  }

  /** One `DELETE` of a binding. */
  deleteBinding(binding: BindingRef, manner: Manner = 'async'): Promise<Exchange> {
    return this.send(this.unbindRequest(binding, manner))
  }

  /** One `GET` of an instance. */
  getInstance(instance: Pick<InstanceRef, 'id'>): Promise<Exchange> {
    return this.send({ method: 'GET', path: instancePath(instance.id) })
  }

  /** One `GET` of a binding. */
  getBinding({ id, instance }: BindingRef): Promise<Exchange> {
    return this.send({ method: 'GET', path: bindingPath(instance.id, id) })
  }

  /** One poll. */
  pollOnce(
    { instanceId, bindingId }: Resource,
    operation?: string,
    more: Record<string, string> = {}
  ): Promise<Exchange> {
    const path = bindingId === undefined ? instancePath(instanceId) : bindingPath(instanceId, bindingId)
    return this.send({ method: 'GET', path: `${path}/last_operation`, query: { operation, ...more } })
  }

  /** Follows an answer to the end of its operation: a 202 is polled, any other is the end itself. */
  end(answer: Exchange, resource: Resource): Promise<Ended> {
    return endOf(this, { answer, resource, options: this.#parts.poll })
  }

  /** An instance that is ready. @throws {Violation} when there comes none */
  async provision(options: ProvisionOptions = {}): Promise<Instance> {
    const id = options.id ?? randomUUID()
    const answer = await this.putInstance({ ...options, id })
    expectStatus(answer, [201, 202], 'a provision of a new instance')
    const { state, last } = await this.end(answer, { instanceId: id })
    if (state !== 'succeeded') throw new Violation(`the provision ended "${state}": ${descriptionOf(last)}`)
    const planId = options.body?.plan_id
    return this.#parts.traces.instance(id, typeof planId === 'string' ? planId : this.target.plan.id, answer)
  }

  /** A binding that is ready. @throws {Violation} when there comes none */
  async bind(instance: Instance, options: BindOptions = {}): Promise<Binding> {
    const id = options.id ?? randomUUID()
    const answer = await this.putBinding(instance, { ...options, id })
    expectStatus(answer, [201, 202], 'a bind of a new binding')
    const { state, last } = await this.end(answer, { instanceId: instance.id, bindingId: id })
    if (state !== 'succeeded') throw new Violation(`the bind ended "${state}": ${descriptionOf(last)}`)
    return { id, instance, created: answer }
  }

  /** Removes an instance and waits for the end. @throws {Violation} when that fails */
  async deprovision(instance: InstanceRef, manner: Manner = 'async'): Promise<Exchange> {
    const answer = await this.deleteInstance(instance, manner)
    expectStatus(answer, [200, 202], 'a deprovision of an instance')
    await this.#succeeded(answer, { instanceId: instance.id })
    return answer
  }

  /** Removes a binding and waits for the end. @throws {Violation} when that fails */
  async unbind(binding: BindingRef, manner: Manner = 'async'): Promise<Exchange> {
    const answer = await this.deleteBinding(binding, manner)
    expectStatus(answer, [200, 202], 'an unbind of a binding')
    await this.#succeeded(answer, { instanceId: binding.instance.id, bindingId: binding.id })
    return answer
  }

  /** An instance that is ready, for checks that leave it as it is; made once for the whole run. */
  shared(): Promise<Instance> {
    this.#shared ??= this.provision().then((instance) => this.#parts.traces.keep(instance))
    return this.#shared
  }

  /** A binding of {@link shared}, for checks that leave it as it is. */
  sharedBinding(): Promise<Binding> {
    this.#sharedBinding ??= this.shared()
      .then((instance) => this.bind(instance))
      .then((binding) => this.#parts.traces.keepBinding(binding))
    return this.#sharedBinding
  }

  /** Sends a request that must be refused, and sees that the refusal has changed nothing (spec: Service Broker Errors). */
  async refused(sent: Sent, { status, error, why, about }: Refusal): Promise<Exchange> {
    const before = about === undefined ? undefined : await this.#parts.refusals.look(this, about)
    const answer = await this.send(sent)
    expectStatus(answer, status, why)
    if (error !== undefined) expectError(answer, error)
    if (before !== undefined) await this.#parts.refusals.compare(this, before, answer)
    return answer
  }

  /** A name for an instance or a binding that nobody has used; what is made under it is removed after the check. */
  newInstanceId(id: string = randomUUID()): string {
    this.#parts.traces.expectInstance(id)
    return id
  }

  /** The like for a binding. */
  newBindingId(instance: Pick<InstanceRef, 'id'>, id: string = randomUUID()): string {
    this.#parts.traces.expectBinding(instance.id, id)
    return id
  }

  async #succeeded(answer: Exchange, resource: Resource): Promise<void> {
    const { state, last } = await this.end(answer, resource)
    if (state === 'failed') throw new Violation(`the delete ended "failed": ${descriptionOf(last)}`)
  }
}

/** `accepts_incomplete=true`, or nothing. */
export function mannerQuery(manner: Manner): Record<string, string> {
  return manner === 'async' ? { accepts_incomplete: 'true' } : {}
}

export function descriptionOf({ body }: Exchange): string {
  return typeof body.description === 'string' ? body.description : 'no description'
}
