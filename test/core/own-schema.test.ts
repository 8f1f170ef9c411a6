import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Ajv } from 'ajv'
import Fastify from 'fastify'
import { CatalogSource } from '../../schemas/catalog.ts'
import { openServiceBroker } from '../../src/app.ts'
import { Platform, PlatformsFile } from '../../src/platforms/schema.ts'
import { testCatalog } from '../helper/app.ts'

test('own schemas: the metaschema, which is left out at a start, accepts those of the catalog, the platforms and every route', async (t) => {
  const app = Fastify()
  t.after(() => app.close())
  const schemas: [string, object][] = [
    ['CatalogSource', CatalogSource],
    ['Platform', Platform],
    ['PlatformsFile', PlatformsFile]
  ]
  app.addHook('onRoute', ({ method, url, schema = {} }) => {
    const { body, querystring, params, headers } = schema
    for (const part of [body, querystring, params, headers]) {
      if (typeof part === 'object' && part !== null) schemas.push([`${method} ${url}`, part])
    }
  })
  await app.register(openServiceBroker, { catalog: testCatalog(), auth: false })
  await app.ready()
  assert.ok(schemas.length > 15, `only ${schemas.length} schemas were found`)
  const ajv = new Ajv({ logger: false })
  const refused = schemas.filter(([, schema]) => ajv.validateSchema(schema) !== true)
  assert.deepEqual(refused, [])
})
