import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import {
  fixedPlatforms,
  PlatformsError,
  ReloadablePlatforms,
  rulesOfPlatform,
  unknownNames
} from '../../src/platforms/index.ts'
import { someHash } from './support.ts'

const basic = { username: 'cf-prod', password_hash: someHash }
const bearer = {
  issuer: 'https://uaa.example.com/oauth/token',
  jwks_uri: 'https://uaa.example.com/token_keys',
  audience: 'osb',
  claims: { client_id: 'service-manager' }
}

function folder(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), 'osb-platforms-'))
  t.after(() => rmSync(path, { recursive: true }))
  return path
}

function file(t: TestContext, content: string | object, name = 'platforms.yaml'): string {
  const path = join(folder(t), name)
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content))
  return path
}

/** The lines of faults of a file that is refused. */
async function faultsOf(t: TestContext, platforms: unknown): Promise<string[]> {
  const path = file(t, { platforms })
  const error = await ReloadablePlatforms.open(path).catch((reason: unknown) => reason)
  assert.ok(error instanceof PlatformsError)
  const [head, ...lines] = error.message.split('\n')
  assert.equal(head, `BROKER_PLATFORMS_FILE: ${path} has ${lines.length} ${lines.length === 1 ? 'error' : 'errors'}:`)
  return lines.map((line) => line.trim())
}

test('file of platforms: YAML with everything is read', async (t) => {
  const keys = file(t, { keys: [{ kty: 'EC', crv: 'P-256', kid: 'k', x: 'a', y: 'b' }] }, 'jwks.json')
  const path = file(
    t,
    `platforms:
  cf-prod:
    basic:
      - username: cf-prod
        password_hash: ${someHash}
      - { username: cf-prod, password_hash: "${someHash}" }
    bearer:
      - issuer: https://uaa.example.com/oauth/token
        jwks_uri: https://uaa.example.com/token_keys
        audience: osb
        claims: { client_id: service-manager, admin: true, level: 3 }
      - { issuer: other, jwks_file: ${keys}, audience: osb, claims: { sub: me } }
    certificate:
      - subject: OU=platforms, CN=cf-prod
      - san: URI:spiffe://example/cf
    catalog:
      - service: postgres
        plans: [free]
    quotas:
      - { service: postgres, plan: free, instances: 50 }
  k8s:
    certificate: [{ san: "DNS:k8s.example.com" }]
`
  )
  const platforms = await ReloadablePlatforms.open(path)
  const { current } = platforms
  assert.deepEqual(
    current.basic.map(({ platform, username }) => [platform, username]),
    [
      ['cf-prod', 'cf-prod'],
      ['cf-prod', 'cf-prod']
    ]
  )
  assert.deepEqual(current.bearer[0], {
    platform: 'cf-prod',
    issuer: 'https://uaa.example.com/oauth/token',
    audience: 'osb',
    claims: { client_id: 'service-manager', admin: true, level: 3 },
    keys: { uri: new URL('https://uaa.example.com/token_keys') }
  })
  assert.deepEqual(current.bearer[1]?.keys, { set: { keys: [{ kty: 'EC', crv: 'P-256', kid: 'k', x: 'a', y: 'b' }] } })
  assert.equal(current.certificate.length, 3)
  assert.deepEqual(rulesOfPlatform(platforms, 'cf-prod'), {
    catalog: [{ service: 'postgres', plans: ['free'] }],
    quotas: [{ service: 'postgres', plan: 'free', instances: 50 }]
  })
  assert.deepEqual(rulesOfPlatform(platforms, 'k8s'), {})
  assert.deepEqual(rulesOfPlatform(platforms, 'unknown'), {})
})

const faults: [string, unknown, string[]][] = [
  ['no platform', {}, ['platforms must have at least 1 key']],
  ['a list', [], ['platforms must be an object, got an array']],
  ['a name with a space', { 'a b': { basic: [basic] } }, ['platforms["a b"] is not allowed']],
  [
    'no way in',
    { a: {}, b: { catalog: [{ service: 's' }] } },
    [
      'platforms.a has no way in: give basic, bearer or certificate',
      'platforms.b has no way in: give basic, bearer or certificate'
    ]
  ],
  ['an empty list', { a: { basic: [] } }, ['platforms.a.basic must have at least 1 item']],
  [
    'an unknown key',
    { a: { basic: [basic], cataloge: [] } },
    ['platforms.a.cataloge is not known (known: basic, bearer, certificate, catalog, quotas)']
  ],
  [
    'a password',
    { a: { basic: [{ username: 'a', password: 'hunter2' }] } },
    [
      'platforms.a.basic[0].password_hash is required',
      'platforms.a.basic[0].password is not known (known: username, password_hash)'
    ]
  ],
  [
    'a password as a hash',
    { a: { basic: [{ username: 'a', password_hash: 'hunter2' }] } },
    ['platforms.a.basic[0].password_hash must be $scrypt$ln=…,r=…,p=…$salt$hash; make one with: osb hash-password']
  ],
  [
    'a number as a hash',
    { a: { basic: [{ username: 'a', password_hash: 4711 }] } },
    ['platforms.a.basic[0].password_hash must be a string, got a number']
  ],
  [
    'a colon in a name',
    { a: { basic: [{ ...basic, username: 'a:b' }] } },
    ['platforms.a.basic[0].username must match ^[^:\\u0000-\\u001F\\u007F]+$']
  ],
  [
    'one username of two platforms',
    { a: { basic: [basic, basic] }, b: { basic: [basic] } },
    ['platforms.b.basic[0].username is that of the platform a already; each needs its own']
  ],
  [
    'no claims',
    { a: { bearer: [{ ...bearer, claims: {} }] } },
    ['platforms.a.bearer[0].claims must have at least 1 key']
  ],
  [
    'a claim that is an object',
    { a: { bearer: [{ ...bearer, claims: { act: {} } }] } },
    ['platforms.a.bearer[0].claims.act must be a string or a number or true or false, got an object']
  ],
  [
    'no keys',
    { a: { bearer: [{ ...bearer, jwks_uri: undefined }] } },
    ['platforms.a.bearer[0] must have jwks_uri or jwks_file, and not both']
  ],
  [
    'keys by http',
    { a: { bearer: [{ ...bearer, jwks_uri: 'http://uaa.example.com/' }] } },
    ['platforms.a.bearer[0] has a jwks_uri that must be an https URL (http on a loopback address) without credentials']
  ],
  [
    'keys by http of a host that only looks like this one',
    { a: { bearer: [{ ...bearer, jwks_uri: 'http://127.0.0.1.evil.com/' }] } },
    ['platforms.a.bearer[0] has a jwks_uri that must be an https URL (http on a loopback address) without credentials']
  ],
  [
    'keys by a URL with a password',
    { a: { bearer: [{ ...bearer, jwks_uri: 'https://a:hunter2@b.com/' }] } },
    ['platforms.a.bearer[0] has a jwks_uri that must be an https URL (http on a loopback address) without credentials']
  ],
  [
    'a file of keys that is not there',
    { a: { bearer: [{ ...bearer, jwks_uri: undefined, jwks_file: '/nowhere.json' }] } },
    [
      "platforms.a.bearer[0] has a jwks_file, /nowhere.json, that cannot be used: ENOENT: no such file or directory, open '/nowhere.json'"
    ]
  ],
  [
    'a file of keys that is none',
    { a: { bearer: [{ ...bearer, jwks_uri: undefined, jwks_file: import.meta.filename }] } },
    [`platforms.a.bearer[0] has a jwks_file, ${import.meta.filename}, that cannot be used: it is no JSON`]
  ],
  [
    'the same tokens for two platforms',
    { a: { bearer: [bearer] }, b: { bearer: [bearer] } },
    ['platforms.b.bearer[0] is that of the platform a already; each needs its own']
  ],
  [
    'a subject that is none',
    { a: { certificate: [{ subject: 'cf' }] } },
    [
      'platforms.a.certificate[0] must be a distinguished name such as CN=cf-prod,OU=platforms, got "cf"; ' +
        'a backslash goes before , + " \\ < > ; in a value (RFC 4514)'
    ]
  ],
  [
    'neither subject nor san',
    { a: { certificate: [{}] } },
    ['platforms.a.certificate[0] must have subject or san, and not both']
  ],
  [
    'one subject of two platforms, in another order',
    { a: { certificate: [{ subject: 'CN=a,OU=b' }] }, b: { certificate: [{ subject: 'OU=b, CN=a' }] } },
    ['platforms.b.certificate[0] is that of the platform a already; each needs its own']
  ],
  [
    'a quota below zero',
    { a: { basic: [basic], quotas: [{ service: 's', plan: 'p', instances: -1 }] } },
    ['platforms.a.quotas[0].instances must be at least 0']
  ],
  [
    'a quota that is no number',
    { a: { basic: [basic], quotas: [{ service: 's', plan: 'p', instances: 'ten' }] } },
    ['platforms.a.quotas[0].instances must be an integer, got "ten"']
  ],
  [
    'a service twice',
    { a: { basic: [basic], catalog: [{ service: 's' }, { service: 's', plans: ['p'] }] } },
    ['platforms.a.catalog[1] names a service that is named already']
  ],
  [
    'a plan with two quotas',
    {
      a: {
        basic: [basic],
        quotas: [
          { service: 's', plan: 'p', instances: 1 },
          { service: 's', plan: 'p', instances: 2 }
        ]
      }
    },
    ['platforms.a.quotas[1] is for a plan that has a quota already']
  ]
]
for (const [what, platforms, expected] of faults) {
  test(`file of platforms: ${what} is refused by its path`, async (t) => {
    const found = await faultsOf(t, platforms)
    assert.deepEqual(found, expected)
    assert.doesNotMatch(found.join(), /hunter2|4711/)
  })
}

const unreadable: [string, string | undefined, RegExp][] = [
  ['none', undefined, /cannot be read: there is no such file$/],
  ['an empty one', '', /cannot be read: the file is empty$/],
  ['no YAML', 'platforms: {', /cannot be read: .* at line 1, column \d+$/],
  ['a platform twice', 'platforms:\n  a: {}\n  a: {}\n', /cannot be read: .*unique.* at line 3, column \d+$/i],
  ['no platforms', 'a: 1', /has 2 errors:\n {2}platforms is required\n {2}a is not known \(known: platforms\)$/]
]
for (const [what, text, message] of unreadable) {
  test(`file of platforms: ${what} is refused`, async (t) => {
    const path = text === undefined ? join(folder(t), 'gone.yaml') : file(t, text)
    await assert.rejects(ReloadablePlatforms.open(path), (error) => {
      assert.ok(error instanceof PlatformsError)
      assert.match(error.message, message)
      assert.ok(error.message.startsWith(`BROKER_PLATFORMS_FILE: ${path} `))
      return true
    })
  })
}

test('file of platforms: a hash that its braces cut into pieces is refused, and no piece repeated', async (t) => {
  const path = file(t, `platforms: { a: { basic: [{ username: a, password_hash: ${someHash} }] } }`)
  await assert.rejects(ReloadablePlatforms.open(path), {
    message: `BROKER_PLATFORMS_FILE: ${path} has 1 error:\n  platforms.a.basic[0].password_hash has commas: within braces it must be in quotes`
  })
})

test('file of platforms: a certificate is refused where the server asks for none', async (t) => {
  const path = file(t, { platforms: { a: { certificate: [{ subject: 'CN=a' }] } } })
  await assert.rejects(ReloadablePlatforms.open(path, { clientCertificates: false }), {
    name: 'PlatformsError',
    message: `BROKER_PLATFORMS_FILE: ${path}: the platform a comes in with a certificate, for which BROKER_TLS_CLIENT_CA must be set`
  })
})

test('file of platforms: a reload takes the new one, and a bad one leaves the old', async (t) => {
  const path = file(t, { platforms: { a: { basic: [basic] } } })
  const platforms = await ReloadablePlatforms.open(path)
  const names = () => platforms.current.basic.map(({ platform }) => platform)
  writeFileSync(path, JSON.stringify({ platforms: { b: { basic: [basic] } } }))
  await platforms.reload()
  assert.deepEqual(names(), ['b'])
  const before = platforms.current
  writeFileSync(path, JSON.stringify({ platforms: { c: {} } }))
  await assert.rejects(platforms.reload(), /platforms\.c has no way in/)
  assert.equal(platforms.current, before)
  rmSync(path)
  await assert.rejects(platforms.reload(), /there is no such file/)
  assert.equal(platforms.current, before)
})

test('rules of platforms: names that the catalog does not have are found by their path', () => {
  const { current } = fixedPlatforms([
    {
      name: 'a',
      basic: [basic],
      catalog: [
        { service: 'postgres', plans: ['free', 'gold'] },
        { service: 'redis', plans: ['tiny'] }
      ],
      quotas: [
        { service: 'postgres', plan: 'free', instances: 1 },
        { service: 'postgres', plan: 'huge', instances: 1 }
      ]
    }
  ])
  const plan = { id: 'p', name: 'free', description: 'd' }
  const catalog = { services: [{ id: 's', name: 'postgres', description: 'd', bindable: true, plans: [plan] }] }
  assert.deepEqual(unknownNames(current, catalog), [
    { path: 'platforms.a.catalog[0]', message: 'names the plan gold, which postgres does not have in the catalog' },
    { path: 'platforms.a.catalog[1]', message: 'names the service redis, which the catalog does not have' },
    { path: 'platforms.a.quotas[1]', message: 'names the plan huge, which postgres does not have in the catalog' }
  ])
})

test('option of platforms: credentials and whole platforms side by side, several of one name', () => {
  const source = fixedPlatforms([
    { name: 'a', username: 'a', password: 'plain' },
    { name: 'a', basic: [{ username: 'a', password_hash: someHash }], catalog: [{ service: 's' }] },
    { name: 'b', certificate: [{ subject: 'CN=b' }] }
  ])
  assert.deepEqual(
    source.current.basic.map((entry) => [entry.platform, entry.username, 'password' in entry]),
    [
      ['a', 'a', true],
      ['a', 'a', false]
    ]
  )
  assert.deepEqual(rulesOfPlatform(source, 'a'), { catalog: [{ service: 's' }] })
})

test('option of platforms: faults are told by their place', () => {
  const plain = { name: 'a', username: 'x', password: 'hunter2' }
  assert.throws(() => fixedPlatforms([plain, { name: 'b', basic: [] }]), {
    name: 'PlatformsError',
    message: 'auth.platforms has 1 error:\n  [1].basic must have at least 1 item'
  })
  assert.throws(() => fixedPlatforms([plain, { ...plain, name: 'b' }]), {
    message: 'auth.platforms: a and b have one username; each needs its own.'
  })
  const limited = { name: 'a', basic: [basic], catalog: [{ service: 's' }] }
  assert.throws(() => fixedPlatforms([limited, limited]), {
    message: 'auth.platforms has 1 error:\n  [1] limits the platform a, which is limited already'
  })
})

test('docs/platforms.md: its file of platforms is accepted', async (t) => {
  const page = readFileSync(new URL('../../docs/platforms.md', import.meta.url), 'utf8')
  const [, example = ''] = /```yaml\n(.*?)```/s.exec(page) ?? []
  const { current } = await ReloadablePlatforms.open(file(t, example))
  const named = [...current.basic, ...current.bearer, ...current.certificate].map(({ platform }) => platform)
  assert.deepEqual(named, ['cf-prod', 'service-manager', 'korifi', 'korifi'])
})
