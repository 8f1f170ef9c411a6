import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parseConnectionUrl } from '../../src/postgres/index.ts'

const parse = (url: string) => parseConnectionUrl(url, 'DATABASE_URL')

function refusal(url: string): string {
  try {
    parse(url)
  } catch (error) {
    assert.ok(error instanceof Error && error.name === 'ConnectionUrlError', String(error))
    return error.message
  }
  return assert.fail(`accepted: ${url}`)
}

const bare = {
  user: undefined,
  password: undefined,
  database: undefined,
  tls: undefined,
  attributes: 'any',
  connectTimeoutMs: undefined,
  applicationName: undefined,
  options: undefined
}
const tls = { direct: false, libpqMode: undefined, rootCertFile: undefined, certFile: undefined, keyFile: undefined }

describe('connection URL: accepted', () => {
  const login = { ...bare, user: 'u', password: 'p', database: 'd' }
  const accepted: [string, object][] = [
    ['postgresql://', { ...bare, hosts: [{ host: undefined, port: undefined }] }],
    ['postgres://u:p@db.internal:6432/d', { ...login, hosts: [{ host: 'db.internal', port: 6432 }] }],
    [' POSTGRESQL://u:p@h/d\n', { ...login, hosts: [{ host: 'h', port: undefined }] }],
    [
      'postgresql://u%40x:p%23%2F%3F%3A%40@h/a%20b',
      { ...bare, user: 'u@x', password: 'p#/?:@', database: 'a b', hosts: [{ host: 'h', port: undefined }] }
    ],
    ['postgresql://u:p:q@h/d', { ...login, password: 'p:q', hosts: [{ host: 'h', port: undefined }] }],
    ['postgresql://u:p@[::1]:1/d', { ...login, hosts: [{ host: '::1', port: 1 }] }],
    ['postgresql://u:p@%2Frun%2Fpostgresql:1/d', { ...login, hosts: [{ host: '/run/postgresql', port: 1 }] }],
    [
      'postgresql:///d?host=/run/postgresql&port=1&user=u&password=p%26',
      { ...login, password: 'p&', hosts: [{ host: '/run/postgresql', port: 1 }] }
    ],
    [
      'postgresql://u:p@h1:1,[::1]:2,h3/d',
      {
        ...login,
        attributes: 'read-write',
        hosts: [
          { host: 'h1', port: 1 },
          { host: '::1', port: 2 },
          { host: 'h3', port: undefined }
        ]
      }
    ],
    [
      'postgresql://u:p@/d?host=h1,h2&port=1&target_session_attrs=primary',
      {
        ...login,
        attributes: 'primary',
        hosts: [
          { host: 'h1', port: 1 },
          { host: 'h2', port: 1 }
        ]
      }
    ],
    [
      'postgresql://u:p@h1,h2/d?target_session_attrs=any&connect_timeout=3',
      {
        ...login,
        connectTimeoutMs: 3_000,
        hosts: [
          { host: 'h1', port: undefined },
          { host: 'h2', port: undefined }
        ]
      }
    ],
    [
      'postgresql://u:p@h/?dbname=d&application_name=a+b&options=-c%20x%3Dy&connect_timeout=0',
      { ...login, applicationName: 'a b', options: '-c x=y', hosts: [{ host: 'h', port: undefined }] }
    ]
  ]
  for (const [url, target] of accepted) test(url.trim(), () => assert.deepEqual(parse(url), target))

  const encrypted: [string, object | undefined][] = [
    ['', undefined],
    ['ssl=true', { ...tls, check: 'full' }],
    ['ssl=0', { ...tls, check: 'off' }],
    ['ssl=no-verify', { ...tls, check: 'none' }],
    ['sslmode=disable', { ...tls, check: 'off', libpqMode: 'disable' }],
    ['sslmode=require', { ...tls, check: 'full', libpqMode: 'require' }],
    ['sslmode=verify-ca', { ...tls, check: 'full', libpqMode: 'verify-ca' }],
    ['sslmode=no-verify&ssl=true', { ...tls, check: 'none', libpqMode: 'require' }],
    ['sslrootcert=/ca.pem', { ...tls, check: 'full', rootCertFile: '/ca.pem' }],
    ['sslnegotiation=direct', { ...tls, check: 'full', direct: true }],
    ['uselibpqcompat=true&sslmode=require', { ...tls, check: 'none', libpqMode: 'require' }],
    [
      'uselibpqcompat=true&sslmode=require&sslrootcert=/ca.pem',
      { ...tls, check: 'chain', libpqMode: 'require', rootCertFile: '/ca.pem' }
    ],
    [
      'uselibpqcompat=true&sslmode=verify-full&sslcert=/c.pem&sslkey=/k.pem',
      { ...tls, check: 'full', libpqMode: 'verify-full', certFile: '/c.pem', keyFile: '/k.pem' }
    ]
  ]
  for (const [query, settings] of encrypted) {
    test(`TLS of "?${query}"`, () => assert.deepEqual(parse(`postgresql://u:p@h/d?${query}`).tls, settings))
  }
})

describe('connection URL: refused', () => {
  const refused: [string, RegExp][] = [
    [
      'mysql://u:S3cret@h/d',
      /^DATABASE_URL is not usable: it must be postgresql:\/\/user:password@host:port\/database\.$/
    ],
    ['', /is not usable/],
    ['h/d', /is not usable/],
    ['postgresql://u:p@h/d?sslMode=verify-full', /^DATABASE_URL has the unknown parameter "sslMode": use "sslmode"\.$/],
    ['postgresql://u:p@h/d?ssl_mode=verify-full', /"ssl_mode": use "sslmode"/],
    ['postgresql://u:p@h/d?target_session_attr=any', /"target_session_attr": use "target_session_attrs"/],
    ['postgresql://u:p@h/d?pgbouncer=true', /unknown parameter "pgbouncer"\. Known are application_name, /],
    ['postgresql://u:p@h/d?statement_timeout=0', /"statement_timeout", which the broker sets itself: leave it out/],
    [
      'postgresql://u:p@h/d?sslmode=on',
      /sslmode=on: allowed are disable, prefer, require, verify-ca, verify-full, no-verify\.$/
    ],
    ['postgresql://u:p@h/d?ssl=require', /ssl=require: allowed are .*\. Write sslmode=require\.$/],
    ['postgresql://u:p@h/d?ssl=maybe', /ssl=maybe: allowed are 0, 1, true, false, no-verify\.$/],
    ['postgresql://u:p@h/d?ssl=0&sslmode=require', /contradict each other/],
    ['postgresql://u:p@h/d?sslmode=require&sslmode=disable', /has the parameter sslmode twice/],
    ['postgresql://u:p@h/d?sslmode=disable&sslnegotiation=direct', /sslnegotiation=direct, which needs TLS/],
    ['postgresql://u:p@h/d?uselibpqcompat=true&sslmode=verify-ca', /needs sslrootcert/],
    [
      'postgresql://u:p@h/d?target_session_attrs=standby',
      /target_session_attrs=standby: allowed are any, read-write, primary/
    ],
    ['postgresql://u:p@h/d?connect_timeout=soon', /connect_timeout=soon: it must be a number of seconds/],
    ['postgresql://u:p@h1,,h2/d', /empty place in its list of hosts/],
    ['postgresql://u:p@h1,h2/d?port=1,2,3', /has 2 hosts and 3 ports/],
    ['postgresql://u:p@h:0/d', /port that is not a number from 1 to 65535/],
    ['postgresql://u:p@[h]/d', /brackets without an IPv6 address/],
    ['postgresql://u:p@h h/d', /a space or a control character/],
    ['postgresql://u:p@h/%ff', /percent escapes that are not UTF-8/]
  ]
  for (const [url, message] of refused) test(url, () => assert.match(refusal(url), message))
})

describe('connection URL: a password that is not encoded is explained, and no part of it is shown', () => {
  const shapes: [string, RegExp][] = [
    ['postgresql://u:hush#word@h/d', /an unencoded "#"\. Percent-encode .* # as %23/],
    ['postgresql://u:hush/word@h/d', /an unencoded "\/" before the "@"\. Percent-encode .* \/ as %2F/],
    ['postgresql://u:hush?word@h/d', /an unencoded "\?" before the "@"\. Percent-encode .* \? as %3F/],
    ['postgresql://u:hush@word@h/d', /more than one "@"\. Percent-encode .*@ as %40/],
    ['postgresql://u:hush@h/word@h/d', /more than one "@"/],
    ['postgresql://u:hush%word@h/d', /a "%" without two hexadecimal digits after it\. Percent-encode .* % as %25/],
    ['postgresql://u:hush word@h/d', /a space or a control character/],
    ['postgresql://u:hush/word', /port that is not a number/],
    ['postgresql://u:hushword', /port that is not a number/],
    ['postgresql://hush word/', /a space/],
    ['postgresql://hush!word/d', /a host that is neither a name nor an address/],
    ['postgresql:///d?user=u&password=hush&word=1', /Write "&" in a password as %26/],
    ['postgresql:///d?user=u&password=hush&password=word', /has the parameter password twice/]
  ]
  for (const [url, message] of shapes) {
    test(url, () => {
      const text = refusal(url)
      assert.match(text, message)
      assert.doesNotMatch(text, /hush|\bword\b/)
    })
  }
})
