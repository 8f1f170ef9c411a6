import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Unavailable } from '../../src/core/provider.ts'
import { hasSecretOf, Secrets } from '../../src/core/secrets.ts'

const password = 'p4ss w√rd/"quoted"'
const url = `postgresql://user:${encodeURIComponent('in the url')}@example.com/db`

function known(): Secrets {
  const secrets = new Secrets()
  secrets.addCredentials({
    username: 'somebody',
    host: 'db.example.com',
    password,
    nested: [{ uri: url }],
    token: 'tok-12345'
  })
  secrets.addState({ token: 'name-of-the-database', api_key: 'key-of-the-state', keyName: 'a name', password: 'short' })
  return secrets
}

test('hideIn: secrets are taken out as they are, encoded for a URL, and escaped in JSON', () => {
  const secrets = known()
  assert.equal(secrets.hideIn(`a ${password} b`), 'a (secret) b')
  assert.equal(secrets.hideIn(`?p=${encodeURIComponent(password)}&`), '?p=(secret)&')
  assert.equal(secrets.hideIn(JSON.stringify({ password })), '{"password":"(secret)"}')
  assert.equal(secrets.hideIn(`${url} in the url`), 'postgresql://user:(secret)@example.com/db (secret)')
  assert.equal(secrets.hideIn('tok-12345 key-of-the-state'), '(secret) (secret)')
})

test('hideIn: names, hosts and what is too short to be told from other words stay', () => {
  const text = 'somebody at db.example.com has name-of-the-database, a name, short'
  assert.equal(known().hideIn(text), text)
})

test('add: a secret that is a part of another leaves nothing of either', () => {
  const secrets = new Secrets()
  for (const secret of ['', 'abc', 'abcdef']) secrets.add(secret)
  assert.equal(secrets.hideIn('abcdef abc'), '(secret) (secret)')
})

test('hideInError: message, stack, cause and fields are without secrets, the class stays', () => {
  const cause = Object.assign(new TypeError(`cause ${password}`), { request: { headers: [password], port: 5432 } })
  const error = known().hideInError(new Unavailable(`no ${password}`, { cause }))
  assert.ok(error instanceof Unavailable && error instanceof Error)
  assert.equal(error.message, 'no (secret)')
  assert.match(error.stack ?? '', /no \(secret\)/)
  assert.ok(error.cause instanceof TypeError)
  assert.equal(error.cause.message, 'cause (secret)')
  assert.deepEqual(Object.entries(error.cause), [['request', { headers: ['(secret)'], port: 5432 }]])
  assert.equal(cause.message, `cause ${password}`, 'the original is not changed')
})

test('hideInError: what has no secret, or refers to itself, comes back', () => {
  const plain = new Error('plain')
  const loop = Object.assign(new Error('loop'), { self: {} })
  loop.self = loop
  assert.equal(known().hideInError(plain), plain)
  assert.equal(known().hideInError(loop), loop)
  assert.equal(known().hideInError('text'), 'text')
  const told = Object.assign(new Error(password), { self: {} })
  told.self = { told }
  const hidden = known().hideInError(told)
  assert.ok(hidden instanceof Error && hidden.message === '(secret)')
})

test('hasSecretOf: a state with a password of the credentials, by itself or in a text, is found', () => {
  const credentials = { password, uri: url, host: 'db.example.com', key: 'name-of-a-key' }
  for (const state of [{ a: [password] }, { text: `-- ${password} --` }, { uri: 'x:in the url@y' }]) {
    assert.equal(hasSecretOf(credentials, state), true, JSON.stringify(state))
  }
  assert.equal(hasSecretOf(credentials, { host: 'db.example.com', key: 'name-of-a-key' }), false)
})
