import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { isAllowed, licenseFaults, licensesFile, licensesPage } from '../.ci/licenses.ts'
import { broughtAlong, type Lockfile, nameOf, readLockfile, registryUrl } from '../.ci/lockfile.ts'

const root = join(import.meta.dirname, '..')
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const lockfile = readLockfile()

/** Packages that the folders of a lockfile name, but for our own. */
const foreign = Object.entries(lockfile).filter(([folder, { link }]) => folder.includes('node_modules/') && !link)

test('package-lock.json: every package comes from the npm registry under its own name, and its content is fixed', () => {
  assert.ok(foreign.length > 100)
  for (const [folder, { version = '', resolved, integrity }] of foreign) {
    assert.equal(resolved, registryUrl(nameOf(folder), version), `${folder}: "npm run lockfile" adds what npm left out`)
    assert.match(integrity ?? '', /^sha512-[A-Za-z0-9+/]{86}==$/, folder)
  }
  const own = Object.keys(lockfile).filter((folder) => !folder.includes('node_modules/'))
  assert.deepEqual(own, ['', 'dev/postgres-binaries'])
})

/** Names of what runs a script when the package is installed. */
function installScripts(locked: Lockfile): string[] {
  return broughtAlong(locked).filter((folder) => locked[folder]?.hasInstallScript === true)
}

test('npm install of the package: neither it nor anything that it brings along runs a script', () => {
  for (const script of ['preinstall', 'install', 'postinstall']) assert.equal(manifest.scripts[script], undefined)
  assert.ok(broughtAlong(lockfile).includes('node_modules/fastify'))
  assert.deepEqual(installScripts(lockfile), [])
})

test('npm install of the package: a script is found wherever it comes from, but for optional peers', () => {
  const locked: Lockfile = {
    '': {
      dependencies: { a: '1' },
      optionalDependencies: { b: '1' },
      peerDependencies: { d: '1', e: '1' },
      peerDependenciesMeta: { e: { optional: true } }
    },
    'node_modules/a': { dependencies: { c: '1' } },
    'node_modules/a/node_modules/c': { dependencies: { b: '1' }, hasInstallScript: true },
    'node_modules/b': { hasInstallScript: true },
    'node_modules/c': { hasInstallScript: true },
    'node_modules/d': { hasInstallScript: true },
    'node_modules/e': { hasInstallScript: true }
  }
  assert.deepEqual(installScripts(locked), ['node_modules/a/node_modules/c', 'node_modules/b', 'node_modules/d'])
})

test('npm ci in a checkout: each script is allowed or refused by name, and the PostgreSQL is the one that users are told', () => {
  const scripts = foreign.filter(([, { hasInstallScript }]) => hasInstallScript).map(([folder]) => nameOf(folder))
  // Of esbuild there are two versions: that of the bundle, and that of the site.
  assert.deepEqual(Object.keys(manifest.allowScripts).sort(), [...new Set(scripts)].sort())
  const allowed = Object.entries(manifest.allowScripts).filter(([, allow]) => allow)
  assert.deepEqual(allowed, [['node', true]])
  const binaries = JSON.parse(readFileSync(join(root, 'dev/postgres-binaries/package.json'), 'utf8'))
  assert.deepEqual(manifest.peerDependencies, binaries.optionalDependencies)
  for (const name of Object.keys(manifest.peerDependencies)) {
    assert.deepEqual(manifest.peerDependenciesMeta[name], { optional: true })
  }
})

test('licences: all are ones that we may take, and THIRD_PARTY_LICENSES.md lists what comes along', () => {
  assert.deepEqual(licenseFaults(lockfile), [])
  assert.ok(readFileSync(licensesFile, 'utf8') === licensesPage(), 'run "npm run licenses" and commit the file')
  const page = licensesPage()
  for (const name of Object.keys(manifest.dependencies)) assert.ok(page.includes(`\n| [${name}](`), name)
})

test('licences: an expression is allowed when one side of it is, all its parts together', () => {
  for (const license of ['MIT', '(MIT OR GPL-3.0-only)', 'MIT AND ISC', 'GPL-2.0-only OR MIT AND ISC']) {
    assert.ok(isAllowed(license), license)
  }
  for (const license of [
    'GPL-3.0-only',
    'MIT AND GPL-3.0-only',
    'UNLICENSED',
    'SEE LICENSE IN x',
    '',
    '(MIT AND GPL) OR (GPL)'
  ]) {
    assert.equal(isAllowed(license), false, license)
  }
  const faults = licenseFaults({
    'node_modules/a': { version: '1.0.0', license: 'AGPL-3.0-only' },
    'node_modules/b': {}
  })
  assert.deepEqual(faults, ['a 1.0.0: AGPL-3.0-only', 'b undefined: no licence'])
})

/** Runs a script of `.ci/`. */
async function run(script: string, args: string[], variables = {}): Promise<{ code: number; stdout: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, ...variables }
    execFile(process.execPath, [join(root, '.ci', script), ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout: stdout + stderr })
    })
  })
}

describe('with npm', { concurrency: 3 }, () => {
  test('npm run sbom: both formats list what comes along, with version, address, licence and hash', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'osb-sbom-'))
    t.after(() => rmSync(folder, { recursive: true }))
    const { code, stdout } = await run('sbom.ts', [folder])
    assert.equal(code, 0, stdout)
    const read = (name: string) => JSON.parse(readFileSync(join(folder, name), 'utf8'))
    const expected = [
      ...new Set(broughtAlong(lockfile).map((path) => `${nameOf(path)}@${lockfile[path]?.version}`))
    ].sort()

    const cyclonedx = read('sbom.cdx.json')
    assert.deepEqual([cyclonedx.bomFormat, cyclonedx.specVersion], ['CycloneDX', '1.5'])
    const { name, version, purl } = cyclonedx.metadata.component
    const self = `pkg:npm/${manifest.name}@${manifest.version}`
    assert.deepEqual([name, version, purl], [manifest.name, manifest.version, self])
    const references = new Set<string>([cyclonedx.metadata.component['bom-ref']])
    for (const component of cyclonedx.components) {
      references.add(component['bom-ref'])
      assert.equal(component.purl, `pkg:npm/${component.name.replace('@', '%40')}@${component.version}`)
      const [{ license, expression } = {} as { license?: { id: string }; expression?: string }] = component.licenses
      assert.ok(isAllowed(license?.id ?? expression ?? ''), component.name)
      assert.match(component.hashes[0].content, /^[0-9a-f]{128}$/)
    }
    const components: { name: string; version: string }[] = cyclonedx.components
    assert.deepEqual([...new Set(components.map((one) => `${one.name}@${one.version}`))].sort(), expected)
    for (const { ref, dependsOn } of cyclonedx.dependencies) {
      for (const reference of [ref, ...dependsOn]) assert.ok(references.has(reference), reference)
    }

    const spdx = read('sbom.spdx.json')
    assert.equal(spdx.spdxVersion, 'SPDX-2.3')
    const packages: {
      name: string
      versionInfo: string
      licenseDeclared: string
      externalRefs: { referenceLocator: string }[]
    }[] = spdx.packages
    const listed = new Set(packages.map((one) => `${one.name}@${one.versionInfo}`))
    assert.deepEqual([...listed].filter((one) => one !== `${manifest.name}@${manifest.version}`).sort(), expected)
    for (const { name: named, versionInfo, licenseDeclared, externalRefs } of packages) {
      assert.ok(isAllowed(licenseDeclared), named)
      assert.equal(externalRefs[0]?.referenceLocator, `pkg:npm/${named.replace('@', '%40')}@${versionInfo}`)
    }
  })

  const advisory = (severity: string) => ({
    fastify: [{ id: 1, url: 'https://example.com/1', title: 'a hole', severity, vulnerable_versions: '*' }]
  })
  const audits: [string, (response: ServerResponse) => unknown, number, RegExp][] = [
    [
      'a grave finding fails',
      (response) => response.end(JSON.stringify(advisory('high'))),
      1,
      /^high: fastify \*\n.*, 1 of them high or critical$/m
    ],
    [
      'a small one is told',
      (response) => response.end(JSON.stringify(advisory('low'))),
      0,
      /^low: fastify \*\n.*, 0 of them high or critical$/m
    ],
    ['none is told', (response) => response.end('{}'), 0, /^known vulnerabilities: 0, 0 of them high or critical$/m],
    [
      'a registry that cannot be asked is told',
      (response) => response.writeHead(405).end(),
      0,
      /^NOT CHECKED [^\n]*405/
    ]
  ]
  for (const [what, answer, code, expected] of audits) {
    test(`.ci/npm-audit: ${what}`, async (t) => {
      // npm remembers what it was told of a finding
      const cache = mkdtempSync(join(tmpdir(), 'osb-npm-'))
      t.after(() => rmSync(cache, { recursive: true }))
      const registry = await fakeRegistry(t, answer)
      const variables = { npm_config_registry: registry, npm_config_cache: cache, npm_config_fetch_retries: '0' }
      const result = await run('npm-audit.ts', [], variables)
      assert.match(result.stdout, expected)
      assert.equal(result.code, code, result.stdout)
    })
  }
})

const version = lockfile['node_modules/fastify']?.version ?? ''

/** Answers questions for vulnerabilities, and knows one package. */
async function fakeRegistry(t: TestContext, answer: (response: ServerResponse) => unknown): Promise<string> {
  const server = createServer((request, response) => {
    if (request.url === '/-/npm/v1/security/advisories/bulk') answer(response)
    else response.end(JSON.stringify({ name: 'fastify', versions: { [version]: { name: 'fastify', version } } }))
  })
  t.after(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return `http://127.0.0.1:${port}/`
}
