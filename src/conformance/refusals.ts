import { isDeepStrictEqual } from 'node:util'
import { type Exchange, isObject, shown } from './exchange.ts'
import type { Resource } from './polling.ts'
import type { Subject } from './subject.ts'

/** What can be seen of a resource from outside. */
export interface Sight {
  readonly resource: Resource
  readonly seen: readonly Seen[]
}

type Seen = readonly [what: string, status: number, body: unknown]

/**
 * Sees that refusals change nothing: "a status code in the 4xx range MUST result in the Service Broker's resources being
 * semantically unchanged" (spec: Service Broker Errors).
 */
export class Refusals {
  readonly faults: string[] = []
  compared = 0

  /** Looks at the resource before a request. */
  async look(subject: Subject, resource: Resource): Promise<Sight> {
    const { instanceId: id, bindingId } = resource
    const { instancesRetrievable, bindingsRetrievable } = subject.target
    const answers: (readonly [string, Exchange])[] = [['last_operation', await subject.pollOnce(resource)]]
    if (instancesRetrievable) answers.push(['the instance', await subject.getInstance({ id })])
    if (bindingsRetrievable && bindingId !== undefined) {
      const instance = { id, planId: subject.target.plan.id }
      answers.push(['the binding', await subject.getBinding({ id: bindingId, instance })])
    }
    return { resource, seen: answers.map(([what, { status, body }]) => [what, status, body]) }
  }

  /** Looks again after the refusal. */
  async compare(subject: Subject, before: Sight, refusal: Exchange): Promise<void> {
    this.compared += 1
    const after = await this.look(subject, before.resource)
    const changed = before.seen.filter((sight, index) => !isSame(sight, after.seen[index]))
    if (changed.length === 0) return
    const what = changed.map(([name]) => name).join(' and ')
    this.faults.push(`${what} changed although the request was refused:\n${shown(refusal)}`)
  }
}

/** Credentials may be given only once (spec: Binding): to have been looked at is no change. */
function isSame(before: Seen, after: Seen | undefined): boolean {
  if (isDeepStrictEqual(before, after)) return true
  const [what, status, body] = before
  if (!isObject(body) || !isObject(after?.[2]) || after[2].credentials !== undefined) return false
  const { credentials: _given, ...rest } = body
  return isDeepStrictEqual([what, status, rest], after)
}
