import type { FastifyRequest } from 'fastify'

export const REQUEST_IDENTITY = 'x-broker-api-request-identity'

/** What a request is about, for its log and its span. */
export interface Subject {
  readonly requestIdentity: string | undefined
  readonly instance: string | undefined
  readonly binding: string | undefined
}

export function subjectOf(request: FastifyRequest): Subject {
  const params: Record<string, unknown> = isObject(request.params) ? request.params : {}
  const { instance_id: instance, binding_id: binding } = params
  return {
    requestIdentity: headerOf(request, REQUEST_IDENTITY),
    instance: typeof instance === 'string' ? instance : undefined,
    binding: typeof binding === 'string' ? binding : undefined
  }
}

/** A header that is there once and not empty. */
export function headerOf(request: FastifyRequest, name: string): string | undefined {
  const value = request.headers[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
