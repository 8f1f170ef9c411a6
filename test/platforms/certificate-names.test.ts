import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseAlternativeName, parseSubject } from '../../src/platforms/certificate-names.ts'
import { alternativeNamesOf, subjectOf } from '../../src/platforms/index.ts'

const same: [string, Record<string, string | string[]>][] = [
  ['CN=cf-prod,OU=platforms', { CN: 'cf-prod', OU: 'platforms' }],
  ['OU=platforms,CN=cf-prod', { CN: 'cf-prod', OU: 'platforms' }],
  [' CN = cf-prod ,  OU=platforms ', { OU: 'platforms', CN: 'cf-prod' }],
  ['cn=cf-prod,ou=platforms', { CN: 'cf-prod', OU: 'platforms' }],
  ['CN=cf-prod+OU=platforms', { CN: 'cf-prod', OU: 'platforms' }],
  ['CN=a,OU=one,OU=two', { CN: 'a', OU: ['two', 'one'] }],
  ['CN=Müller \\C3\\84G\\, Bonn', { CN: 'Müller ÄG, Bonn' }],
  ['CN=a\\+b\\\\c\\"d\\ ', { CN: 'a+b\\c"d ' }],
  ['CN=two words', { CN: 'two words' }],
  ['CN=a=b', { CN: 'a=b' }],
  ['E=a@b.c,S=NRW,DC=example,DC=com', { emailAddress: 'a@b.c', ST: 'NRW', DC: ['com', 'example'] }]
]
for (const [text, subject] of same) {
  test(`subject: ${text} is that of the certificate`, () => assert.equal(parseSubject(text), subjectOf(subject)))
}

const different: [string, Record<string, string | string[]>][] = [
  ['CN=cf-prod', { CN: 'CF-PROD' }],
  ['CN=cf-prod', { CN: 'cf-prod', OU: 'platforms' }],
  ['CN=cf-prod,OU=platforms', { CN: 'cf-prod' }],
  ['CN=cf-prod,OU=platforms', { CN: 'cf-prod,OU=platforms' }],
  ['CN=cf-prod,OU=platforms', { CN: ['cf-prod', 'cf-prod'], OU: 'platforms' }],
  ['CN=a,OU=b', { CN: 'a","OU","b' }],
  ['CN=two words', { CN: 'two  words' }],
  ['CN=a', { O: 'a' }],
  ['CN=a', {}]
]
for (const [text, subject] of different) {
  test(`subject: ${text} is not ${JSON.stringify(subject)}`, () =>
    assert.notEqual(parseSubject(text), subjectOf(subject)))
}

for (const text of [
  '',
  'cf-prod',
  '/CN=cf-prod/OU=x',
  'CN=',
  'CN= ',
  'CN=a,',
  ',CN=a',
  'CN=a;OU=b',
  'CN="a"',
  'CN=#04'
]) {
  test(`subject: ${JSON.stringify(text)} is refused`, () =>
    assert.throws(
      () => parseSubject(text),
      /^Mistake: must be a distinguished name such as CN=cf-prod,OU=platforms, got /
    ))
}

test('alternative name: DNS, URI and email are read, and host names without case', () => {
  assert.equal(parseAlternativeName('dns: CF.example.com'), 'DNS:cf.example.com')
  assert.equal(parseAlternativeName('URI:spiffe://Example/cf'), 'URI:spiffe://Example/cf')
  assert.equal(parseAlternativeName('email:A@b.c'), 'EMAIL:A@b.c')
  for (const text of ['cf.example.com', 'IP Address:127.0.0.1', 'DNS:', 'dirName:CN=a', 'https://a']) {
    assert.throws(() => parseAlternativeName(text), /must be DNS:cf\.example\.com, URI:spiffe:\/\/… or email:…, got /)
  }
})

test('alternative names: those of a certificate are told apart', () => {
  const text = 'DNS:A.example.com, URI:spiffe://x/y, email:a@b.c, IP Address:127.0.0.1, othername:<unsupported>'
  assert.deepEqual(alternativeNamesOf(text), [
    'DNS:a.example.com',
    'URI:spiffe://x/y',
    'EMAIL:a@b.c',
    'IP ADDRESS:127.0.0.1',
    'OTHERNAME:<unsupported>'
  ])
  assert.deepEqual(alternativeNamesOf(undefined), [])
})

test('alternative names: one that would be read as two is one (CVE-2021-44532)', () => {
  assert.deepEqual(alternativeNamesOf('DNS:"evil.com, DNS:cf.example.com", URI:x'), [
    'DNS:evil.com, dns:cf.example.com',
    'URI:x'
  ])
  for (const text of ['DNS:a,DNS:b', 'DNS:"a', 'a.example.com', 'DNS:a, ,DNS:b']) {
    assert.deepEqual(alternativeNamesOf(text), [], text)
  }
})
