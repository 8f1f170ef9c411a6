import type { FastifyPluginAsync } from 'fastify'
import type { TypeBoxTypeProvider } from '../plugins/validation.ts'
import { AsyncQuery, BindingParams, DeleteQuery, EmptyObject, HintQuery, OsbHeaders } from '../schemas/common.ts'
import { errorResponses } from '../schemas/errors.ts'
import { LastOperation, LastOperationQuery } from '../schemas/last-operation.ts'
import { BindingAccepted, BindingFetched, BindingReply, BindRequest } from '../schemas/service-binding.ts'
import { DeleteAccepted } from '../schemas/service-instance.ts'
import { documented } from './documented.ts'
import { changeStatus, createStatus } from './status.ts'

const path = '/v2/service_instances/:instance_id/service_bindings/:binding_id'
const ending = { osbPriority: 'ending' } as const
const base = { headers: OsbHeaders, params: BindingParams }

/** The endpoints of service bindings (spec: Binding … Unbinding, Polling Last Operation). */
export const serviceBindingRoutes: FastifyPluginAsync = async (plain) => {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const { bindings } = app.osbLifecycle

  const bind = {
    ...documented.bind,
    ...base,
    querystring: AsyncQuery,
    body: BindRequest,
    response: { 200: BindingReply, 201: BindingReply, 202: BindingAccepted, ...errorResponses }
  }
  app.put(path, { schema: bind }, async (request, reply) => {
    const outcome = await bindings.bind(request.osbCall, request.params, request.body)
    return reply.code(createStatus(outcome)).send(outcome.body)
  })

  const fetch = {
    ...documented.fetchBinding,
    ...base,
    querystring: HintQuery,
    response: { 200: BindingFetched, ...errorResponses }
  }
  // A HEAD would take credentials that are handed over once, and answer nothing.
  app.get(path, { schema: fetch, exposeHeadRoute: false }, async (request) => {
    return bindings.fetch(request.osbCall, request.params)
  })

  const unbind = {
    ...documented.unbind,
    ...base,
    querystring: DeleteQuery,
    response: { 200: EmptyObject, 202: DeleteAccepted, ...errorResponses }
  }
  app.delete(path, { schema: unbind, config: ending }, async (request, reply) => {
    const outcome = await bindings.unbind(request.osbCall, request.params, request.query)
    return reply.code(changeStatus(outcome)).send(outcome.body)
  })

  const poll = {
    ...documented.pollBinding,
    ...base,
    querystring: LastOperationQuery,
    response: { 200: LastOperation, ...errorResponses }
  }
  app.get(`${path}/last_operation`, { schema: poll, config: ending }, async (request, reply) => {
    const answer = await app.osbLifecycle.lastOperation(request.osbCall, request.params, request.query)
    if (answer.retryAfterSeconds !== undefined) reply.header('retry-after', String(answer.retryAfterSeconds))
    return answer.body
  })
}
