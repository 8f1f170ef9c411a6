import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Type } from '@sinclair/typebox'
import { loadCatalog } from '../../../src/core/catalog/index.ts'
import { planOptionsSource } from '../../../src/providers/postgresql/plan-options.ts'
import { able } from './helper.ts'

const postgresql = { ...able, name: 'postgresql', options: planOptionsSource(['default']) }
const example = { ...able, name: 'example', options: Type.Object({}, { additionalProperties: false }) }

function pathOf(name: string): string {
  return fileURLToPath(new URL(`../../../${name}`, import.meta.url))
}

test('shipped catalog: loads without a warning', async () => {
  const { warnings, plans } = await loadCatalog(pathOf('catalog.yaml'), { providers: [postgresql] })
  assert.deepEqual(warnings, [])
  assert.deepEqual(
    plans.map(({ service, plan, mode, bindable, planUpdateable, bindingRotatable, options }) => ({
      names: `${service.name} ${plan.name}`,
      mode,
      bindable,
      planUpdateable,
      bindingRotatable,
      connections: options.connection_limit
    })),
    [
      {
        names: 'postgres free',
        mode: 'either',
        bindable: true,
        planUpdateable: true,
        bindingRotatable: true,
        connections: 10
      },
      {
        names: 'postgres pro',
        mode: 'either',
        bindable: true,
        planUpdateable: true,
        bindingRotatable: true,
        connections: 50
      }
    ]
  )
})

test('shipped catalog: has the tags by which buildpacks know PostgreSQL, and nothing of ours', async () => {
  const { served, bytes } = await loadCatalog(pathOf('catalog.yaml'), { providers: [postgresql] })
  assert.deepEqual(served.services[0]?.tags, ['postgresql', 'postgres', 'relational'])
  assert.equal(bytes.includes('x-broker'), false)
})

test('shipped catalog: a provision takes a name and extensions, a bind takes a role', async () => {
  const { plans } = await loadCatalog(pathOf('catalog.yaml'), { providers: [postgresql] })
  for (const { validate } of plans) {
    assert.equal(validate.create({}), undefined)
    assert.equal(validate.create({ extensions: ['citext', 'uuid-ossp'] }), undefined)
    assert.match(String(validate.update({ extensions: ['dblink'] })), /extensions\[0\] must be one of "citext"/)
    assert.equal(validate.create({ a: 1 }), 'Invalid parameters: a is not known (known: database, extensions)')
    assert.equal(validate.update({ a: 1 }), 'Invalid parameters: a is not known (known: extensions)')
    assert.equal(validate.create({ database: 'orders' }), undefined)
    assert.match(String(validate.create({ database: 'Orders' })), /database/)
    assert.equal(validate.bind({ role: 'reader' }), undefined)
    assert.equal(
      validate.bind({ role: 'root' }),
      'Invalid parameters: role must be one of "owner", "reader", got a string'
    )
  }
})

test("seed catalog: loads, and db_name is constrained as in the seed's article", async () => {
  const { plan, warnings } = await loadCatalog(pathOf('test/fixtures/seed-catalog.yaml'), { providers: [example] })
  const service = '6c1b9c4e-2f0d-4c52-9b0e-6a2f1d8e7a10'
  const small = plan(service, '2d5f0b1c-8f3a-4a6e-8d57-0c9f2b7e4a21')
  assert.equal(plan(service, '7a9e3c60-1b4d-4f8c-a2e5-5d6c8b0f9e32')?.plan.name, 'large')
  assert.equal(small?.planUpdateable, true)
  assert.equal(small?.validate.create(undefined), undefined)
  assert.equal(small?.validate.create({ db_name: 'x'.repeat(64) }), undefined)
  assert.equal(small?.validate.create({ db_name: '' }), 'Invalid parameters: db_name must not be empty')
  assert.equal(
    small?.validate.create({ db_name: 'x'.repeat(65) }),
    'Invalid parameters: db_name must have at most 64 characters, has 65'
  )
  assert.equal(small?.validate.bind({ anything: true }), undefined)
  assert.equal(warnings.length, 1)
})
