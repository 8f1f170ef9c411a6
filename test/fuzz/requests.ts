import { type TSchema, Type } from '@sinclair/typebox'
import fc, { type Arbitrary } from 'fast-check'
import { AsyncQuery, DeleteQuery, HintQuery } from '../../schemas/common.ts'
import { LastOperationQuery } from '../../schemas/last-operation.ts'
import { BindRequest } from '../../schemas/service-binding.ts'
import { ProvisionRequest, UpdateRequest } from '../../schemas/service-instance.ts'
import { bindBody, headers as good, provisionBody } from '../helper/app.ts'
import { bodyFaults, textOf } from './faults.ts'
import { valuesOf } from './values.ts'

/** A request as it is sent, but for the ids that are its sequence's own: `~` stands for their beginning. */
export interface FuzzRequest {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

interface Route {
  readonly weight: number
  readonly method: string
  readonly path: string
  readonly query?: TSchema
  readonly body?: TSchema
}

const instance = '/v2/service_instances/{instance}'
const binding = `${instance}/service_bindings/{binding}`
/** What most binds and deletes look like; the schemas leave more to the broker. */
const UsualBind = Type.Composite([
  Type.Required(Type.Pick(BindRequest, ['service_id', 'plan_id'])),
  Type.Pick(BindRequest, ['bind_resource', 'context', 'parameters'])
])
const UsualDelete = Type.Composite([
  Type.Required(Type.Pick(DeleteQuery, ['service_id', 'plan_id'])),
  Type.Pick(DeleteQuery, ['accepts_incomplete'])
])
const routes: Route[] = [
  { weight: 5, method: 'PUT', path: instance, query: AsyncQuery, body: ProvisionRequest },
  { weight: 5, method: 'PUT', path: binding, query: AsyncQuery, body: UsualBind },
  { weight: 2, method: 'PUT', path: binding, query: AsyncQuery, body: BindRequest },
  { weight: 3, method: 'PATCH', path: instance, query: AsyncQuery, body: UpdateRequest },
  { weight: 1, method: 'DELETE', path: instance, query: UsualDelete },
  { weight: 1, method: 'DELETE', path: instance, query: DeleteQuery },
  { weight: 2, method: 'DELETE', path: binding, query: UsualDelete },
  { weight: 1, method: 'DELETE', path: binding, query: DeleteQuery },
  { weight: 2, method: 'GET', path: instance, query: HintQuery },
  { weight: 2, method: 'GET', path: binding, query: HintQuery },
  { weight: 2, method: 'GET', path: `${instance}/last_operation`, query: LastOperationQuery },
  { weight: 2, method: 'GET', path: `${binding}/last_operation`, query: LastOperationQuery },
  { weight: 1, method: 'GET', path: '/v2/catalog' },
  { weight: 1, method: 'GET', path: '/v2/unknown' }
]

/** Ids as they may stand in a path. */
export const ODD_IDS = [
  ...['', '.', '..', '%2e%2e', '%2f', '%00', 'a%00b', '%zz', '%', '%ff', '%ed%a0%80', '%f0%9f%99%82', '%0d%0aX:y'],
  ...['__proto__', 'constructor', "'%22;--", '%20', '+', 'a;b=c', 'a%3fb', 'last_operation', 'service_bindings'],
  ...[255, 256, 1_020, 1_021, 5_000].map((length) => 'x'.repeat(length)),
  'é'.repeat(255).replaceAll('é', '%c3%a9')
]
const idsOf = (letter: string) =>
  fc.oneof(
    { weight: 19, arbitrary: fc.constantFrom(`~${letter}1`, `~${letter}1`, `~${letter}2`) },
    { weight: 1, arbitrary: fc.constantFrom(...ODD_IDS) }
  )

const identity = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64')
/** One header that is another than a platform sends; `undefined`: none. */
const headerFaults: Arbitrary<Record<string, string | undefined>> = fc.oneof(
  ...Object.entries({
    authorization: [
      undefined,
      '',
      'Basic',
      'Basic !',
      'Basic Og==',
      `Basic ${'A'.repeat(8_000)}`,
      'Bearer x',
      'basic eDp5'
    ],
    'x-broker-api-version': [undefined, '', '2', '2.x', '2.99999', '3.0', '1.0', '2.17, 2.17', ' 2.16 ', '2.\u00b2'],
    'content-type': [
      undefined,
      '',
      'text/plain',
      'application/json;charset=utf-16',
      'application/',
      ';',
      'é',
      'x'.repeat(9_000)
    ],
    'content-encoding': ['gzip', 'identity', 'br, gzip', ''],
    'x-broker-api-request-identity': ['', 'é\u00ff', '\t', 'x'.repeat(9_000), '{"a":1}'],
    'x-broker-api-originating-identity': [
      ...['', 'x', 'cloudfoundry', 'cloudfoundry !', `cloudfoundry ${identity([])}`, `cloudfoundry ${identity(null)}`],
      ...[`é ${identity({ user_id: 'é' })}`, `a ${identity({ a: '\0' })}`, `a  ${identity({})}`, ` ${identity({})}`],
      `kubernetes ${identity({ groups: 'x'.repeat(7_000) })}`
    ],
    'if-none-match': ['*', '"x"', 'W/"x", *', ','.repeat(5_000)],
    'if-modified-since': ['yesterday', 'Thu, 01 Jan 2099 00:00:00 GMT', '9'.repeat(5_000)],
    'accept-encoding': ['gzip;q=0, *;q=0'],
    expect: ['100-continue', 'miracles']
  }).map(([name, values]) => fc.constantFrom(...values).map((value) => ({ [name]: value })))
)
const queryFaults = fc.constantFrom(
  ...['accepts_incomplete=1', 'accepts_incomplete=true&accepts_incomplete=false', 'accepts_incomplete', '__proto__=1'],
  ...['a=%00', 'a=%zz', '%00', '&&&', '=', '?', 'service_id[]=a', 'service_id=%ff', `a=${'x'.repeat(9_000)}`],
  ...['a&'.repeat(150), 'service_id=a&service_id=b', 'accepts_incomplete=%74rue', 'constructor.prototype=1']
)
const otherMethods = fc.constantFrom('POST', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'QUERY', 'PURGE')

/** What is wrong with a request: nothing, mostly. */
const faults = fc.oneof(
  { weight: 11, arbitrary: fc.constant({}) },
  { weight: 5, arbitrary: fc.record({ body: bodyFaults }) },
  { weight: 2, arbitrary: fc.record({ headers: headerFaults }) },
  { weight: 1, arbitrary: fc.record({ query: queryFaults }) },
  { weight: 1, arbitrary: fc.record({ method: otherMethods }) }
)

/** Requests that a platform may send, most of them as the schemas want them, others broken in one place. */
export const requests: Arbitrary<FuzzRequest> = fc
  .oneof(...routes.map((route) => ({ weight: route.weight, arbitrary: partsOf(route) })))
  .map(({ route, ids, query, body, originating, fault }) => {
    const path = route.path.replace('{instance}', () => ids.instance).replace('{binding}', () => ids.binding)
    const parameters = Object.entries(Object(query)).map(
      ([name, value]) => `${name}=${encodeURIComponent(String(value).toWellFormed())}`
    )
    if ('query' in fault) parameters.push(fault.query)
    const text = body === undefined ? undefined : textOf(body, 'body' in fault ? fault.body : undefined)
    const own: Record<string, string | undefined> = {
      ...good,
      ...(text === undefined ? {} : { 'content-type': 'application/json' }),
      ...(originating ? { 'x-broker-api-originating-identity': `cloudfoundry ${identity({ user_id: 'u' })}` } : {}),
      'x-broker-api-request-identity': 'fuzz',
      ...('headers' in fault ? fault.headers : {})
    }
    return {
      method: 'method' in fault ? fault.method : route.method,
      path: parameters.length === 0 ? path : `${path}?${parameters.join('&')}`,
      headers: Object.fromEntries(
        Object.entries(own).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]))
      ),
      ...(text === undefined ? {} : { body: text })
    }
  })

const make = (path: string, body: object): FuzzRequest => ({
  method: 'PUT',
  path,
  headers: { ...good, 'content-type': 'application/json' },
  body: JSON.stringify(body)
})
const made = make('/v2/service_instances/~i1', provisionBody())
const bound = make('/v2/service_instances/~i1/service_bindings/~b1', bindBody())

/** What a sequence finds: nothing, an instance, or an instance and its binding. */
export const beginnings: readonly (readonly FuzzRequest[])[] = [[], [made], [made, bound]]

function partsOf(route: Route) {
  return fc.record({
    route: fc.constant(route),
    ids: fc.record({ instance: idsOf('i'), binding: idsOf('b') }),
    query: route.query === undefined ? fc.constant({}) : valuesOf(route.query),
    body: route.body === undefined ? fc.constant(undefined) : valuesOf(route.body),
    originating: fc.boolean(),
    fault: faults
  })
}
