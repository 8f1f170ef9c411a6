import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LightMyRequestResponse } from 'fastify'
import { bindBody, headers, ids, provisionBody } from '../helper/app.ts'
import { answered, bindingPath, instancePath, onePlatform, refused } from './support.ts'

const unprintable = [
  ['\u0001', 'U+0001'],
  ['\t', 'U+0009'],
  ['\r\n', 'U+000D'],
  ['\u001b[31m', 'U+001B'],
  ['\u007f', 'U+007F'],
  ['\u009b', 'U+009B'],
  ['\u034f', 'U+034F'],
  ['\u061c', 'U+061C'],
  ['\u115f', 'U+115F'],
  ['\u200b', 'U+200B'],
  ['\u200e', 'U+200E'],
  ['\u200f', 'U+200F'],
  ['\u2028', 'U+2028'],
  ['\u202a', 'U+202A'],
  ['\u202e', 'U+202E'],
  ['\u2066', 'U+2066'],
  ['\u2069', 'U+2069'],
  ['\u3164', 'U+3164'],
  ['\ufe0f', 'U+FE0F'],
  ['\ufeff', 'U+FEFF'],
  ['\u{e0041}', 'U+E0041']
] as const

test('any route: an id with an unprintable character answers 400 and shows the character escaped', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1'), 201)
  for (const [character, code] of unprintable) {
    const id = `a${character}b`
    const replies = [
      await platform.provision(id),
      await platform.update(id, {}),
      await platform.fetch(id),
      await platform.poll(instancePath(id)),
      await platform.deprovision(id),
      await platform.bind('i-1', id),
      await platform.fetchBinding('i-1', id),
      await platform.poll(bindingPath('i-1', id)),
      await platform.unbind('i-1', id)
    ]
    for (const [index, reply] of replies.entries()) {
      refused(
        reply,
        400,
        new RegExp(
          `^The ${index < 5 ? 'instance' : 'binding'}_id "a\\\\u\\{.*b" has the character ${code.replace('+', '\\+')}\\.`
        )
      )
      assert.ok(!reply.body.includes(character), `the character itself is in ${JSON.stringify(reply.body)}`)
    }
  }
  const unauthenticated = await platform.app.inject({
    url: instancePath('a\u202eb'),
    headers: { ...headers, authorization: '' }
  })
  assert.equal(unauthenticated.statusCode, 401)
})

test('any route: ids in any script, with spaces and signs, are taken', async (t) => {
  const platform = await onePlatform(t)
  for (const id of ['ünïcødé-🙂', 'عربي', 'עברית', 'a b+c/d?e#f%', '日本語', 'क्षि', '"<&>\\']) {
    answered(await platform.provision(id), 201)
    answered(await platform.fetch(id), 200)
    answered(await platform.deprovision(id), 200)
  }
})

test('any route: an id in the body or the query with an unprintable character answers 400', async (t) => {
  const platform = await onePlatform(t)
  answered(await platform.provision('i-1'), 201)
  answered(await platform.bind('i-1', 'b-1'), 201)
  const id = 'a\u202eb'
  const plan = ids.plans.sync
  const replies: [string, LightMyRequestResponse][] = [
    ['service_id', await platform.provision('i-2', { ...provisionBody(plan), service_id: id })],
    ['plan_id', await platform.provision('i-2', { ...provisionBody(plan), plan_id: id })],
    ['organization_guid', await platform.provision('i-2', { ...provisionBody(plan), organization_guid: id })],
    ['space_guid', await platform.provision('i-2', { ...provisionBody(plan), space_guid: id })],
    ['plan_id', await platform.update('i-1', { previous_values: { plan_id: id } })],
    ['app_guid', await platform.bind('i-1', 'b-2', bindBody(plan, { app_guid: id }))],
    ['app_guid', await platform.bind('i-1', 'b-2', bindBody(plan, { bind_resource: { app_guid: id } }))],
    ['predecessor_binding_id', await platform.bind('i-1', 'b-2', bindBody(plan, { predecessor_binding_id: id }))],
    ['service_id', await platform.deprovision('i-1', `?service_id=${encodeURIComponent(id)}&plan_id=${plan}`)],
    ['plan_id', await platform.unbind('i-1', 'b-1', `?service_id=${ids.service}&plan_id=${encodeURIComponent(id)}`)]
  ]
  for (const [name, reply] of replies) {
    refused(reply, 400, new RegExp(`^The ${name} "a\\\\u\\{202e\\}b" has the character U\\+202E\\.`))
    assert.ok(!reply.body.includes('\u202e'), `the character itself is in ${JSON.stringify(reply.body)}`)
  }
})
