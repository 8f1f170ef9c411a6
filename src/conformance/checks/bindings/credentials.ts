import { type Check, NotApplicable } from '../../check.ts'
import { type Exchange, isObject } from '../../exchange.ts'
import { expectSame, expectThat } from '../../expect.ts'
import type { Subject } from '../../subject.ts'
import type { BindingRef } from '../../traces.ts'
import { unless } from '../skips.ts'

const skip = unless.bindable
const MAX_BYTES = 48 * 1024
const KEY = /^[-._a-zA-Z0-9]{1,253}$/

/** What a bind has given: in its own answer, or in the first fetch. */
export async function givenBy(subject: Subject, binding: BindingRef & { created: Exchange }): Promise<Exchange> {
  return binding.created.status === 201 ? binding.created : subject.getBinding(binding)
}

/** What bindings carry (spec: Types of Binding). */
export const credentialsChecks: readonly Check[] = [
  {
    id: 'bind/credentials-are-unique',
    section: 'Types of Binding',
    level: 'SHOULD',
    rule: 'Credentials are unique to a binding, so that access can be revoked for each.',
    skip,
    async run(subject) {
      const instance = await subject.shared()
      const [first, second] = [await subject.bind(instance), await subject.bind(instance)]
      const [one, other] = [await givenBy(subject, first), await givenBy(subject, second)]
      if (one.body.credentials === undefined) throw new NotApplicable('the plan gives no credentials')
      const same = JSON.stringify(one.body.credentials) === JSON.stringify(other.body.credentials)
      expectThat(!same, 'two bindings of one instance have the same credentials')
    }
  },
  {
    id: 'bind/credentials-can-be-taken',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'Keys of credentials are of [-._a-zA-Z0-9], and all of them have less than 48 kB.',
    skip,
    async run(subject) {
      const { body } = await givenBy(subject, await subject.bind(await subject.shared()))
      if (!isObject(body.credentials)) throw new NotApplicable('the plan gives no credentials')
      const keys = Object.keys(body.credentials).filter((key) => !KEY.test(key))
      expectSame(keys, [], 'keys that platforms refuse')
      const bytes = Buffer.byteLength(JSON.stringify(body.credentials))
      expectThat(bytes < MAX_BYTES, `the credentials have ${bytes} bytes`)
    }
  },
  {
    id: 'bind/undeclared-kinds-are-not-given',
    section: 'Binding',
    level: 'MUST',
    rule: 'syslog_drain_url, route_service_url and volume_mounts come only from offerings that require them.',
    skip,
    async run(subject) {
      const { body } = await givenBy(subject, await subject.bind(await subject.shared()))
      const { requires = [] } = subject.target.service
      const declared = new Set<string>(requires)
      const kinds = {
        syslog_drain_url: 'syslog_drain',
        route_service_url: 'route_forwarding',
        volume_mounts: 'volume_mount'
      }
      const undeclared = Object.entries(kinds).filter(
        ([field, permission]) => body[field] !== undefined && body[field] !== null && !declared.has(permission)
      )
      expectSame(
        undeclared.map(([field]) => field),
        [],
        'fields that "requires" does not declare'
      )
    }
  },
  {
    id: 'bind/metadata-is-in-order',
    section: 'Binding',
    level: 'MUST',
    rule: 'renew_before is before or equal to expires_at.',
    skip,
    async run(subject) {
      const { body } = await givenBy(subject, await subject.bind(await subject.shared()))
      const metadata = isObject(body.metadata) ? body.metadata : {}
      const { expires_at: expiresAt, renew_before: renewBefore } = metadata
      if (typeof expiresAt !== 'string' || typeof renewBefore !== 'string') {
        throw new NotApplicable('bindings of the plan do not expire')
      }
      expectThat(
        Date.parse(renewBefore) <= Date.parse(expiresAt),
        `renew_before ${renewBefore} is after expires_at ${expiresAt}`
      )
    }
  }
]
