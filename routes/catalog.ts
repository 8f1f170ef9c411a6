import { Type } from '@sinclair/typebox'
import type { FastifyPluginAsync } from 'fastify'
import { Catalog } from '../schemas/catalog.ts'
import { OsbHeaders } from '../schemas/common.ts'
import { errorResponses } from '../schemas/errors.ts'
import type { LoadedCatalog } from '../src/core/catalog/index.ts'
import { documented } from './documented.ts'

export interface CatalogRouteOptions {
  readonly catalog: () => LoadedCatalog
}

/** `GET /v2/catalog` (spec: Catalog Management), as the bytes made when it was loaded. */
export const catalogRoutes: FastifyPluginAsync<CatalogRouteOptions> = async (app, { catalog }) => {
  const schema = {
    ...documented.catalog,
    headers: OsbHeaders,
    response: { 200: Catalog, 304: Type.Null({ description: 'Not modified.' }), ...errorResponses }
  }
  app.get('/v2/catalog', { schema, logLevel: 'warn' }, async (request, reply) => {
    const { bytes, etag, lastModified } = catalog()
    reply.header('etag', etag).header('last-modified', lastModified.toUTCString())
    if (isFresh(request.headers, etag, lastModified)) return reply.code(304).send()
    return reply.type('application/json; charset=utf-8').send(bytes)
  })
}

interface Conditions {
  readonly 'if-none-match'?: string | undefined
  readonly 'if-modified-since'?: string | undefined
}

/** RFC 9110, 13.1.2 and 13.1.3: `If-None-Match` decides alone where it is present, and compares weakly. */
function isFresh(headers: Conditions, etag: string, lastModified: Date): boolean {
  const { 'if-none-match': tags, 'if-modified-since': since } = headers
  if (tags !== undefined) {
    return tags.split(',').some((tag) => tag.trim() === '*' || tag.trim().replace(/^W\//, '') === etag)
  }
  return since !== undefined && Date.parse(since) >= lastModified.getTime()
}
