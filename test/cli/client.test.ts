import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { environment } from '../../src/cli/client/output.ts'
import { buildApp, credentials, ids, testCatalog } from '../helper/app.ts'
import { end, type Program, scene, temporaryFolder, until, type Variables } from '../server/broker-process.ts'

/** `osb` against a broker of the test's own; answers what it printed. */
async function terminal(t: TestContext, options: Parameters<typeof buildApp>[1] = {}) {
  const app = await buildApp(t, options)
  const { run } = scene(t)
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const variables: Variables = { OSB_URL: url, OSB_USERNAME: credentials.username, OSB_PASSWORD: credentials.password }
  const start = (args: string[], more: Variables = {}): Program => run(args, { ...variables, ...more })
  const osb = async (...args: string[]) => {
    const program = start(args)
    const { code } = await program.ended
    return { code, stdout: program.stdout, stderr: program.stderr }
  }
  return { app, url, start, osb }
}

test('osb: the whole life of an instance and a binding by its commands', async (t) => {
  const { osb } = await terminal(t)
  const listed = await osb('catalog')
  assert.match(listed.stdout, /^SERVICE +PLAN +FREE +BINDABLE +DESCRIPTION\nexample +sync +yes +yes +sync\n/)
  assert.deepEqual(JSON.parse((await osb('catalog', '-o', 'json')).stdout).services.length, 2)

  const made = await osb(
    'provision',
    'example',
    'either',
    'my-db',
    '-p',
    'size=3',
    '-p',
    'name="4"',
    '--parameters',
    '{size: 1, a: [x]}'
  )
  assert.deepEqual(made, {
    code: 0,
    stdout: 'instance  my-db\nservice   example\nplan      either\n',
    stderr: 'provisioning my-db: Working for 50 ms.\n'
  })
  const fetched = JSON.parse((await osb('get', 'my-db', '-o', 'json')).stdout)
  assert.deepEqual(fetched.parameters, { size: 3, name: '4', a: ['x'] })

  const bound = await osb('bind', 'my-db', 'b-1', '--app', 'app-1')
  assert.equal(bound.code, 0, bound.stderr)
  const password = /^password +(\S+)$/m.exec(bound.stdout)?.[1]
  assert.equal(typeof password, 'string')
  const again = JSON.parse((await osb('get', 'my-db', 'b-1', '--output', 'json')).stdout)
  assert.equal(again.credentials.password, password)

  assert.equal((await osb('update', 'my-db', '--plan', 'sync')).code, 0)
  assert.match((await osb('get', 'my-db')).stdout, /^plan_id +plan-sync$/m)
  const rotated = await osb('bind', 'my-db', '--rotate', 'b-1', '-o', 'env', '--prefix', 'db_')
  assert.match(rotated.stdout, /^DB_URI='postgresql:.*'\nDB_USERNAME='/)
  assert.match(rotated.stderr, /^binding [0-9a-f-]{36}$/m)

  for (const args of [
    ['unbind', 'my-db', 'b-1'],
    ['deprovision', 'my-db']
  ]) {
    assert.deepEqual(await osb(...args), { code: 0, stdout: '', stderr: '' })
  }
  assert.match((await osb('poll', 'my-db', '--no-wait')).stdout, /^state {2}succeeded\n/)
})

test('osb provision --no-wait and osb poll: an operation is followed later', async (t) => {
  const { osb } = await terminal(t)
  const started = await osb('provision', 'example', 'either', 'i-1', '--no-wait')
  assert.match(started.stdout, /^[0-9a-f-]{36}\n$/)
  assert.equal((await osb('poll', 'i-1', '--operation', started.stdout.trim())).code, 0)
  assert.equal((await osb('get', 'i-1')).code, 0)
})

test('osb: what the broker refuses is one line with its code, and 1', async (t) => {
  const { osb, url } = await terminal(t)
  const refused: [string[], RegExp][] = [
    [['provision', 'example', 'async', '--sync'], /^AsyncRequired: This service plan requires client support .*\n$/i],
    [['provision', 'example', 'failing', 'f-1'], /^This plan fails on provision\.\n$/m],
    [['provision', 'nothing', 'sync'], /^The catalog has no service offering "nothing"\. It has: example, other\.\n$/],
    [['provision', 'example', 'nothing'], /^The catalog has no plan "nothing" of "example"\. It has: sync, .*\n$/],
    [['get', 'nothing'], /^There is no service instance "nothing"\.\n$/],
    [
      ['deprovision', 'nothing'],
      /^There is no service instance "nothing"\. If it is there all the same, name --service and --plan\.\n$/
    ],
    [['update', 'nothing'], /^Say what is to change: --plan, .*\n$/],
    [['catalog', '--username', 'x', '--password', 'y'], /^The credentials are missing or wrong\.\n$/],
    [['catalog', '--url', 'http://127.0.0.1:9'], /^http:\/\/127\.0\.0\.1:9\/ cannot be reached: .*\n$/],
    [['catalog', '--url', 'nowhere'], /^The URL of a broker is like .*, not nowhere\.\n$/],
    [['catalog', '--output', 'xml'], /^--output is table or json, not xml\.\n$/],
    [['provision', 'example', 'sync', '-p', 'size'], /^--parameter is KEY=VALUE; given was size\n$/],
    [['provision', 'example', 'sync', '--parameters', '[1]'], /^--parameters must be an object .*\n$/],
    [['provision', 'example', 'sync', '--parameters', '@/nothing.yaml'], /^--parameters cannot be read: .*\n$/],
    [['bind', 'x', '--rotate', 'y', '--app', 'z'], /^--rotate takes app and parameters from .*\n$/]
  ]
  for (const [args, message] of refused) {
    const { code, stdout, stderr } = await osb(...args)
    assert.equal(code, 1, args.join(' '))
    assert.match(stderr, message)
    assert.equal(stdout, '')
    assert.doesNotMatch(stderr, / at .*\.ts|node:internal/)
  }
  assert.equal((await osb('deprovision', 'f-1', '--service', 'example', '--plan', 'failing', '--url', url)).code, 0)
})

test('osb provision: parameters come from a file and from standard input', async (t) => {
  const { osb, start } = await terminal(t)
  const file = join(temporaryFolder(t), 'parameters.yaml')
  writeFileSync(file, 'size: 7\nname: from a file\n')
  assert.equal((await osb('provision', 'example', 'sync', 'i-1', '--parameters', `@${file}`)).code, 0)
  assert.deepEqual(JSON.parse((await osb('get', 'i-1', '-o', 'json')).stdout).parameters, {
    size: 7,
    name: 'from a file'
  })
  // Standard input is /dev/null here: empty, which is no object.
  const program = start(['provision', 'example', 'sync', '--parameters', '-'])
  assert.equal((await program.ended).code, 1)
  assert.match(program.stderr, /^--parameters must be an object/)
})

test('osb provision: Ctrl-C says how to go on, and the operation goes on', async (t) => {
  const { start, osb } = await terminal(t)
  const program = start(['provision', 'example', 'slow', 'i-1'])
  await until('the wait begins', () => program.stderr.includes('provisioning i-1: '))
  const { code } = await end(program, 'SIGINT')
  assert.equal(code, 1)
  assert.match(program.stderr, /It goes on at the broker\. To wait again: osb poll i-1 --operation [0-9a-f-]{36}\n$/)
  assert.match((await osb('poll', 'i-1', '--no-wait')).stdout, /^state +in progress$/m)
  assert.equal((await osb('deprovision', 'i-1', '--no-wait', '--service', 'example', '--plan', ids.plans.slow)).code, 0)
})

test('osb bind: plans that cannot be fetched need --service and --plan', async (t) => {
  const [service, ...rest] = testCatalog().services
  assert.ok(service !== undefined)
  const { osb } = await terminal(t, { catalog: { services: [{ ...service, instances_retrievable: false }, ...rest] } })
  assert.equal((await osb('provision', 'example', 'sync', 'i-1')).code, 0)
  const refused = await osb('bind', 'i-1')
  assert.match(refused.stderr, /name --service and --plan/)
  const bound = await osb('bind', 'i-1', '--service', 'example', '--plan', 'sync', '--output', 'json')
  assert.deepEqual(Object.keys(JSON.parse(bound.stdout)), ['credentials'])
})

test('--output env: a shell reads back every value as it was', () => {
  const value = { uri: `a'b"c$d\`e\\f\ng !h`, nested: { port: 5, list: ['x', "y'"] }, '1st-key.x': 'ü' }
  const names = ['P_URI', 'P_NESTED_PORT', 'P_NESTED_LIST', 'P_1ST_KEY_X']
  const script = `${environment(value, 'p_')}\nprintf '%s\\0' ${names.map((name) => `"$${name}"`).join(' ')}`
  const said = execFileSync('/bin/sh', ['-c', script]).toString().split('\0')
  assert.deepEqual(said.slice(0, -1), [value.uri, '5', `["x","y'"]`, 'ü'])
  assert.throws(() => environment({ a: { b: 1 }, 'a-b': 2 }), /Two values would be A_B/)
  assert.throws(() => environment({ a: 'x\0y' }), /A holds a NUL/)
})
