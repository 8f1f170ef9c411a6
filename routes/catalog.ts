import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import { Catalog } from '../schemas/catalog.ts'
import { OsbHeaders } from '../schemas/common.ts'
import { errorResponses } from '../schemas/errors.ts'
import { documented } from './documented.ts'

/**
 * Each platform sees a catalog of its own, and must not be given that of another: no shared cache may keep it, and a
 * cache of the client's own has to ask first, since it may have several credentials (RFC 9111, 5.2.2.4, 5.2.2.7).
 */
const CACHE_CONTROL = 'private, no-cache'

/** `GET /v2/catalog` (spec: Catalog Management), as bytes that were made before. */
export const catalogRoutes: FastifyPluginAsync = async (app) => {
  const schema = {
    ...documented.catalog,
    headers: OsbHeaders,
    response: { 200: Catalog, 304: Type.Null({ description: 'Not modified.' }), ...errorResponses }
  }
  app.get('/v2/catalog', { schema }, async (request, reply) => {
    const { bytes, etag, lastModified } = app.osbLifecycle.catalogOf(request.osbPlatform)
    reply.header('etag', etag).header('cache-control', CACHE_CONTROL)
    if (lastModified !== undefined) reply.header('last-modified', lastModified.toUTCString())
    if (isFresh(request.headers, etag, lastModified)) return reply.code(304).send()
    return reply.type('application/json; charset=utf-8').send(bytes)
  })
}

interface Conditions {
  readonly 'if-none-match'?: string | undefined
  readonly 'if-modified-since'?: string | undefined
}

/** RFC 9110, 13.1.2 and 13.1.3: `If-None-Match` decides alone where it is present, and compares weakly. */
function isFresh(headers: Conditions, etag: string, lastModified: Date | undefined): boolean {
  const { 'if-none-match': tags, 'if-modified-since': since } = headers
  if (tags !== undefined) {
    return tags.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag)
  }
  return since !== undefined && lastModified !== undefined && Date.parse(since) >= lastModified.getTime()
}
