import assert from 'node:assert/strict'
import test from 'node:test'
import { loadCatalog } from '../../src/core/catalog/index.ts'
import type { ServiceProvider } from '../../src/core/provider.ts'
import { Watches } from '../../src/core/upkeep.ts'
import { MemoryStore } from '../../src/stores/memory.ts'
import { testCatalog } from '../helper/app.ts'
import { ScriptedProvider } from '../helper/scripted-provider.ts'

test('watch: a provider that throws before it returns a promise stops no other provider and no later round', async () => {
  const watched: string[] = []
  const throwing = Object.assign(new ScriptedProvider(), {
    watch: (): Promise<void> => {
      watched.push('throwing')
      throw new Error('no servers are configured')
    }
  })
  const other = Object.assign(new ScriptedProvider(), { name: 'other', watch: async () => void watched.push('other') })
  const catalog = await loadCatalog(testCatalog(), { providers: [throwing] })
  const lines: [object, string | undefined][] = []
  const line = (fields: object, message?: string) => void lines.push([fields, message])
  const watches = new Watches({
    store: new MemoryStore(),
    providers: new Map<string, ServiceProvider>([
      ['example', throwing],
      ['other', other]
    ]),
    catalog: () => catalog,
    log: { debug() {}, info() {}, warn: line, error: line }
  })
  for (let round = 0; round < 2; round += 1) await watches.run(new AbortController().signal)
  assert.deepEqual(watched, ['throwing', 'other', 'throwing', 'other'])
  const expected = 'a watch over the instances failed; the next one is in a minute'
  assert.deepEqual(
    lines.map(([, message]) => message),
    [expected, expected]
  )
  const [[fields] = [{}]] = lines
  assert.ok('provider' in fields && 'err' in fields && fields.err instanceof Error)
  assert.deepEqual([fields.provider, fields.err.message], ['example', 'no servers are configured'])
})
