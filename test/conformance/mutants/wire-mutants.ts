import { answers, body, type Fault, requests, status, swallows } from './faults.ts'

const everything = [
  'catalog',
  'provision',
  'fetch-instance',
  'update',
  'deprovision',
  'poll-instance',
  'bind',
  'fetch-binding',
  'unbind',
  'poll-binding'
] as const
const creates = ['provision', 'bind'] as const
const deletes = ['deprovision', 'unbind'] as const
const polls = ['poll-instance', 'poll-binding'] as const
const fetches = ['fetch-instance', 'fetch-binding'] as const

/** What a broker can get wrong with its answers alone: name, and the fault. */
export const wireMutants: Readonly<Record<string, Fault>> = {
  'provision: 200 for 201': status(['provision'], 201, 200),
  'bind: 200 for 201': status(['bind'], 201, 200),
  'provision: 201 for 202': status(['provision'], 202, 201),
  'identical provision: 201 for 200': status(['provision'], 200, 201),
  'identical bind: 409 for 200': answers(['bind'], ({ status }) =>
    status === 200 ? { status: 409, text: '{"description":"There is one already."}' } : undefined
  ),
  'conflicting provision: 200 for 409': status(['provision'], 409, 200),
  'conflicting bind: 422 for 409': status(['bind'], 409, 422),
  'state: "inprogress" for "in progress"': body(polls, [200], (json) =>
    json.state === 'in progress' ? { ...json, state: 'inprogress' } : json
  ),
  'state: none': body(polls, [200], ({ state: _, ...json }) => json),
  'description: empty in last_operation': body(polls, [200], (json) => ({ ...json, description: '' })),
  'credentials in a 202': body(['bind'], [202], (json) => ({ ...json, credentials: { password: 'x' } })),
  'credentials: none in the 201': body(['bind'], [200, 201], ({ credentials: _, ...json }) => json),
  'deprovision of nothing: 404 for 410': status(['deprovision'], 410, 404),
  'unbind of nothing: 404 for 410': status(['unbind'], 410, 404),
  'deprovision of nothing: 200 for 410': answers(['deprovision'], ({ status }) =>
    status === 410 ? { status: 200, text: '{}' } : undefined
  ),
  'update of nothing: 410 for 404': status(['update'], 404, 410),
  'fetch of nothing: 400 for 404': status(fetches, 404, 400),
  'deletes: 204 without a body': answers(deletes, ({ status }) =>
    status === 200 ? { status: 204, text: '' } : undefined
  ),
  'AsyncRequired: without the code': body([...creates, ...deletes, 'update'], [422], ({ error, ...json }) =>
    error === 'AsyncRequired' ? json : { error, ...json }
  ),
  'AsyncRequired: 400 for 422': answers([...creates, ...deletes, 'update'], ({ status, json }) =>
    status === 422 && json.error === 'AsyncRequired' ? { status: 400 } : undefined
  ),
  'ConcurrencyError: 409 for 422': answers(everything, ({ status, json }) =>
    status === 422 && json.error === 'ConcurrencyError' ? { status: 409 } : undefined
  ),
  'ConcurrencyError: misspelt': body(everything, [422], (json) =>
    json.error === 'ConcurrencyError' ? { ...json, error: 'Concurrency' } : json
  ),
  'MaintenanceInfoConflict: without the code': body(['provision', 'update'], [422], ({ error, ...json }) =>
    error === 'MaintenanceInfoConflict' ? json : { error, ...json }
  ),
  'authentication: 403 for 401': status(everything, 401, 403),
  'authentication: nobody is asked': requests(everything, ({ headers }) => ({
    headers: { ...headers, authorization: `Basic ${Buffer.from('platform:p4ss:w√ord').toString('base64')}` }
  })),
  'version: 500 for 412': status(everything, 412, 500),
  'request identity: not echoed': answers(everything, ({ headers }) => {
    const { 'x-broker-api-request-identity': _, ...rest } = headers
    return { headers: rest }
  }),
  'request identity: one of its own': answers(everything, ({ headers }) => ({
    headers: { ...headers, 'x-broker-api-request-identity': 'mine' }
  })),
  'content type: text/html': answers(everything, ({ headers }) => ({
    headers: { ...headers, 'content-type': 'text/html' }
  })),
  'errors: an HTML page': answers(everything, ({ status }) =>
    status >= 400 ? { text: '<html>Bad</html>' } : undefined
  ),
  'errors: an empty description': body(everything, [400, 404, 409, 410, 422], (json) => ({ ...json, description: '' })),
  'errors: two words as the code': body(everything, [400], (json) => ({ ...json, error: 'Bad Request' })),
  'errors: instance_usable on a refused bind': body(['bind'], [400, 409, 422], (json) => ({
    ...json,
    instance_usable: true
  })),
  'malformed JSON: 500 for 400': status(everything, 400, 500),
  'malformed JSON: 422 for 400': status(everything, 400, 422),
  'unknown fields are refused': swallows(['provision', 'update', 'bind'], ({ json }) => {
    const known = [
      'service_id',
      'plan_id',
      'organization_guid',
      'space_guid',
      'context',
      'parameters',
      'maintenance_info',
      'previous_values',
      'app_guid',
      'bind_resource',
      'predecessor_binding_id'
    ]
    const extra = Object.keys(json).filter((name) => !known.includes(name))
    return extra.length === 0 ? undefined : { status: 400, json: { description: `unknown field ${extra[0]}` } }
  }),
  'null for an absent field': body(fetches, [200], (json) => ({ dashboard_url: null, metadata: null, ...json })),
  'operation: too long': body([...creates, ...deletes, 'update'], [202], (json) => ({
    ...json,
    operation: 'x'.repeat(10_001)
  })),
  'operation: a number': body([...creates, ...deletes, 'update'], [202], (json) => ({ ...json, operation: 7 })),
  'Retry-After: a fraction': answers(polls, ({ headers, json }) =>
    json.state === 'in progress' ? { headers: { ...headers, 'retry-after': '0.5' } } : undefined
  ),
  'last_operation: 400 for a token never issued': swallows(polls, ({ url }) => {
    const token = url.searchParams.get('operation')
    return token !== null && !/^[0-9a-f-]{36}$/.test(token)
      ? { status: 400, json: { description: 'no such operation' } }
      : undefined
  }),
  'fetched binding: other credentials each time': body(['fetch-binding'], [200], (json) => ({
    ...json,
    credentials: { password: String(Math.random()) }
  })),
  'fetched binding: no credentials': body(['fetch-binding'], [200], ({ credentials: _, ...json }) => json),
  'endpoints: ports as numbers': body(['bind', 'fetch-binding'], [200, 201], (json) => ({
    ...json,
    endpoints: [{ host: 'h', ports: [5432] }]
  })),
  'volume mounts: not declared': body(['bind', 'fetch-binding'], [200, 201], (json) => ({
    ...json,
    volume_mounts: []
  })),
  'log drain: not declared': body(['bind', 'fetch-binding'], [200, 201], (json) => ({
    ...json,
    syslog_drain_url: 'syslog://logs'
  })),
  'route service: not declared': body(['bind', 'fetch-binding'], [200, 201], (json) => ({
    ...json,
    route_service_url: 'https://route'
  })),
  'expires_at: not ISO 8601': body(['bind', 'fetch-binding'], [200, 201], (json) => ({
    ...json,
    metadata: { expires_at: 'tomorrow' }
  })),
  'renew_before: after expires_at': body(['bind', 'fetch-binding'], [200, 201], (json) => ({
    ...json,
    metadata: { expires_at: '2030-01-01T00:00:00.0Z', renew_before: '2031-01-01T00:00:00.0Z' }
  })),
  'dashboard_url: a number': body(['provision', 'fetch-instance'], [200, 201, 202], (json) => ({
    ...json,
    dashboard_url: 5
  }))
}
