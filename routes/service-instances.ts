import type { FastifyPluginAsync } from 'fastify'
import type { TypeBoxTypeProvider } from '../plugins/validation.ts'
import { AsyncQuery, DeleteQuery, EmptyObject, HintQuery, InstanceParams, OsbHeaders } from '../schemas/common.ts'
import { errorResponses } from '../schemas/errors.ts'
import { LastOperation, LastOperationQuery } from '../schemas/last-operation.ts'
import {
  DeleteAccepted,
  InstanceAccepted,
  InstanceFetched,
  InstanceReply,
  ProvisionRequest,
  UpdateRequest
} from '../schemas/service-instance.ts'
import { documented } from './documented.ts'
import { changeStatus, createStatus } from './status.ts'

const ending = { osbPriority: 'ending' } as const
const base = { headers: OsbHeaders, params: InstanceParams }

/** The endpoints of service instances (spec: Provisioning … Deprovisioning, Polling Last Operation). */
export const serviceInstanceRoutes: FastifyPluginAsync = async (plain) => {
  const app = plain.withTypeProvider<TypeBoxTypeProvider>()
  const { instances } = app.osbLifecycle

  const provision = {
    ...documented.provision,
    ...base,
    querystring: AsyncQuery,
    body: ProvisionRequest,
    response: { 200: InstanceReply, 201: InstanceReply, 202: InstanceAccepted, ...errorResponses }
  }
  app.put('/v2/service_instances/:instance_id', { schema: provision }, async (request, reply) => {
    const outcome = await instances.provision(request.osbCall, request.params.instance_id, request.body)
    return reply.code(createStatus(outcome)).send(outcome.body)
  })

  const fetch = {
    ...documented.fetchInstance,
    ...base,
    querystring: HintQuery,
    response: { 200: InstanceFetched, ...errorResponses }
  }
  app.get('/v2/service_instances/:instance_id', { schema: fetch }, async (request) =>
    instances.fetch(request.osbCall, request.params.instance_id)
  )

  const update = {
    ...documented.update,
    ...base,
    querystring: AsyncQuery,
    body: UpdateRequest,
    response: { 200: InstanceReply, 202: InstanceAccepted, ...errorResponses }
  }
  app.patch('/v2/service_instances/:instance_id', { schema: update }, async (request, reply) => {
    const outcome = await instances.update(request.osbCall, request.params.instance_id, request.body)
    return reply.code(changeStatus(outcome)).send(outcome.body)
  })

  const deprovision = {
    ...documented.deprovision,
    ...base,
    querystring: DeleteQuery,
    response: { 200: EmptyObject, 202: DeleteAccepted, ...errorResponses }
  }
  app.delete('/v2/service_instances/:instance_id', { schema: deprovision, config: ending }, async (request, reply) => {
    const outcome = await instances.deprovision(request.osbCall, request.params.instance_id, request.query)
    return reply.code(changeStatus(outcome)).send(outcome.body)
  })

  const poll = {
    ...documented.pollInstance,
    ...base,
    querystring: LastOperationQuery,
    response: { 200: LastOperation, ...errorResponses }
  }
  app.get(
    '/v2/service_instances/:instance_id/last_operation',
    { schema: poll, config: ending },
    async (request, reply) => {
      const answer = await app.osbLifecycle.lastOperation(request.osbCall, request.params, request.query)
      if (answer.retryAfterSeconds !== undefined) reply.header('retry-after', String(answer.retryAfterSeconds))
      return answer.body
    }
  )
}
