import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { type TestContext, test } from 'node:test'
import pg from 'pg'
import { filterFrom } from '../../src/cli/audit-filter.ts'
import { textLines } from '../../src/cli/audit-lines.ts'
import { migrate } from '../../src/stores/postgres/index.ts'
import { testPostgres } from '../helper/postgres.ts'
import { osb, plainEnvironment, platformOf, query, scene, shipped, until, watch } from '../server/broker-process.ts'

/** A database with five events: a provision, a bind whose ids and user play tricks, a repair. */
async function database(): Promise<string> {
  const url = await (await testPostgres()).createDatabase()
  const pool = new pg.Pool({ connectionString: url, max: 2 })
  await migrate(pool)
  const tricks = { platform: 'kubernetes', value: { username: 'eve\u001b[2J\u202e', uid: '7' } }
  await pool.query(
    `INSERT INTO osb.audit_events (at, platform, originating_identity, request_identity, action, phase, internal,
      instance_id, binding_id, description)
    VALUES ('2026-03-01T10:00:00Z', 'cf', $1, 'r-1', 'provision', 'started', false, 'i-1', NULL, NULL),
      ('2026-03-01T10:00:01.5Z', 'cf', $1, 'r-1', 'provision', 'succeeded', false, 'i-1', NULL, 'Ready.'),
      ('2026-03-01T10:00:02Z', 'k8s', $2, NULL, 'bind', 'failed', false, 'i-long-2', E'b\\n1', 'No	room.'),
      (now() - interval '1 hour', 'cf', '{"platform":"x","value":{"sub":"z"}}', NULL, 'unbind', 'started', false, 'i-1', 'b', NULL),
      (now(), 'cf', NULL, NULL, 'repair', 'succeeded', true, 'i-1', NULL, 'healed')`,
    [JSON.stringify({ platform: 'cloudfoundry', value: { user_id: 'anne' } }), JSON.stringify(tricks)]
  )
  await pool.end()
  return url
}

async function audit(t: TestContext, variables: Readonly<Record<string, string>>, ...args: string[]) {
  const program = scene(t).run(['audit', ...args], variables)
  const { code } = await program.ended
  return { code, stdout: program.stdout, stderr: program.stderr }
}

test('osb audit: prints the events, the newest last, in UTC, and nothing that steers a terminal', async (t) => {
  const DATABASE_URL = await database()
  const { code, stdout, stderr } = await audit(t, { DATABASE_URL, TZ: 'Asia/Tokyo' }, '--until', '2026-03-02')
  assert.deepEqual([code, stderr], [0, ''])
  assert.deepEqual(stdout.split('\n'), [
    '2026-03-01T10:00:00.000Z\tcf\tanne\tprovision\tstarted\ti-1\t-\t-',
    '2026-03-01T10:00:01.500Z\tcf\tanne\tprovision\tsucceeded\ti-1\t-\tReady.',
    '2026-03-01T10:00:02.000Z\tk8s\teve\\u001b[2J\\u202e\tbind\tfailed\ti-long-2\tb\\u000a1\tNo\\u0009room.',
    ''
  ])
})

const events = [
  { at: '2026-03-01T10:00:00.000000Z', platform: 'cf', action: 'bind', outcome: 'started', instance_id: 'i-1' },
  { at: '2026-03-01T10:00:00.000000Z', platform: 'kubernetes', action: 'repair', outcome: 'failed', instance_id: 'i' }
] as const

test('osb audit: on a terminal the columns are aligned under a heading, page by page', () => {
  const lines = textLines(true)
  const [first, second] = events.map((event) => lines([{ ...event, event_id: '1', internal: true }]))
  const heading = 'time                      platform  user      action  outcome  instance  binding  description'
  assert.equal(
    first,
    `${heading}\n2026-03-01T10:00:00.000Z  cf        (broker)  bind    started  i-1       -        -\n`
  )
  assert.equal(second, '2026-03-01T10:00:00.000Z  kubernetes  (broker)  repair  failed   i         -        -\n')
})

test('osb audit: each option becomes its filter, and times are in UTC or ago', () => {
  const now = new Date('2026-03-01T10:00:00Z')
  const cases: [Record<string, string | string[]>, object, number | undefined][] = [
    [{}, {}, 100],
    [{ platform: 'cf', limit: '7' }, { platform: 'cf' }, 7],
    [
      { instance: 'i', binding: 'b', user: 'u', request: 'r' },
      { instance: 'i', binding: 'b', user: 'u', request: 'r' },
      100
    ],
    [{ action: ['bind', 'unbind'], outcome: ['failed'] }, { actions: ['bind', 'unbind'], outcomes: ['failed'] }, 100],
    [{ since: '2h' }, { since: new Date('2026-03-01T08:00:00Z') }, undefined],
    [{ since: '90s', limit: '5' }, { since: new Date('2026-03-01T09:58:30Z') }, 5],
    [{ until: '7d' }, { until: new Date('2026-02-22T10:00:00Z') }, 100],
    [{ since: '2026-02-28' }, { since: new Date('2026-02-28T00:00:00Z') }, undefined],
    [{ since: '2026-02-28T23:59' }, { since: new Date('2026-02-28T23:59:00Z') }, undefined],
    [{ since: '2026-02-28 23:59:01.5+02:00' }, { since: new Date('2026-02-28T21:59:01.5Z') }, undefined]
  ]
  for (const [values, expected, limit] of cases) {
    const result = filterFrom(values, now)
    const given = Object.fromEntries(Object.entries(result.filter).filter(([, value]) => value !== undefined))
    assert.deepEqual([given, result.limit], [expected, limit], JSON.stringify(values))
  }
})

test('osb audit: options together, and --json with one object a line', async (t) => {
  const DATABASE_URL = await database()
  const options = ['--json', '--instance', 'i-long-2', '--action', 'bind', '--outcome', 'failed', '--user', 'EVE']
  const { stdout, stderr } = await audit(t, { DATABASE_URL }, ...options, '--since', '2026-03-01T12:00:02+02:00')
  assert.ok(stdout.includes('eve\\u001b[2J\\u202e'))
  assert.deepEqual(stderr, '')
  assert.deepEqual(JSON.parse(stdout), {
    at: '2026-03-01T10:00:02.000000Z',
    event_id: '3',
    platform: 'k8s',
    originating_identity: { platform: 'kubernetes', value: { username: 'eve\u001b[2J\u202e', uid: '7' } },
    action: 'bind',
    outcome: 'failed',
    internal: false,
    instance_id: 'i-long-2',
    binding_id: 'b\n1',
    description: 'No\troom.'
  })
})

const time = 'a time like 2026-01-31 or 2026-01-31T12:00:00Z, or like 30m, 2h, 7d for so long ago'
const refused: [Record<string, string | string[]>, string][] = [
  [
    { action: ['drop'] },
    '--action is "drop": it must be one of provision, update, deprovision, bind, unbind, repair, guard.'
  ],
  [{ outcome: ['failed', 'ok'] }, '--outcome is "ok": it must be one of started, succeeded, failed, halted.'],
  [{ limit: '0' }, '--limit is "0": it must be a whole number from 1.'],
  [{ limit: '1e3' }, '--limit is "1e3": it must be a whole number from 1.'],
  [{ since: 'yesterday' }, `--since is "yesterday": it must be ${time}.`],
  [{ since: '999999999w' }, `--since is "999999999w": it must be ${time}.`],
  [{ until: '2026-02-30' }, `--until is "2026-02-30": it must be ${time}.`],
  [{ until: '2026-02-28T25:00' }, `--until is "2026-02-28T25:00": it must be ${time}.`],
  [{ since: '1h', until: '2h' }, '--until 2h is not after --since 1h: nothing is in between.'],
  [{ instance: '' }, '--instance is empty: give a value, or leave it out.']
]

test('osb audit: a filter that cannot be understood is refused with what was given and what is allowed', async (t) => {
  for (const [values, message] of refused) {
    assert.throws(() => filterFrom(values, new Date()), { name: 'UsageError', message })
  }
  const both = 'Give --follow or --until, not both: what comes is after any --until.\n'
  assert.deepEqual(await audit(t, {}, '--follow', '--until', '1h'), { code: 1, stdout: '', stderr: both })
})

test('osb audit: without a database to read it ends with 1 and one line that says what to set', async (t) => {
  const empty = await (await testPostgres()).createDatabase()
  const [memory, postgres, nothing, unmigrated] = await Promise.all([
    audit(t, { BROKER_STORAGE: 'memory' }),
    audit(t, { BROKER_STORAGE: 'postgres', DATABASE_URL: '' }),
    audit(t, { BROKER_DATA_DIR: '/nowhere' }),
    audit(t, { DATABASE_URL: empty })
  ])
  for (const { code, stdout } of [memory, postgres, nothing, unmigrated]) assert.deepEqual([code, stdout], [1, ''])
  const toSet = "Set DATABASE_URL to the PostgreSQL database of the broker's own state"
  assert.equal(memory.stderr, `${toSet}: with BROKER_STORAGE=memory no audit is kept.\n`)
  assert.equal(postgres.stderr, `${toSet}.\n`)
  assert.equal(nothing.stderr, `${toSet}, or BROKER_DATA_DIR to the data directory of a broker: "/nowhere" is none.\n`)
  assert.equal(unmigrated.stderr, 'The schema in that database is not that of this program: run osb migrate.\n')
})

test('osb audit: who reads no further, as head does, ends it quietly', async (t) => {
  const DATABASE_URL = await database()
  await query(
    DATABASE_URL,
    `INSERT INTO osb.audit_events (platform, action, phase, instance_id)
    SELECT 'cf', 'bind', 'started', repeat('i', 200) FROM generate_series(1, 5000)`
  )
  const shell = `"$0" "$1" audit --limit 5000 | head -1; echo "ended with \${PIPESTATUS[0]}"`
  const child = spawn('bash', ['-c', shell, process.execPath, osb], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...plainEnvironment(), DATABASE_URL }
  })
  const program = watch(child)
  t.after(() => child.kill('SIGKILL'))
  assert.deepEqual(await program.ended, { code: 0, signal: null })
  assert.match(program.stdout, /^[^\n]+\tcf\t-\tbind\tstarted\ti+\t-\t-\nended with 0\n$/)
  assert.equal(program.stderr, '')
})

test('osb audit --follow: with embedded storage it shows what a running broker does, and says so when none runs', async (t) => {
  const { serve, run, dataDir } = scene(t)
  const broker = await serve({ BROKER_USERNAME: 'platform', BROKER_PASSWORD: 'secret' })
  const following = run(['audit', '--follow', '--json'])
  const call = platformOf(broker, 'platform:secret')
  const body = { ...shipped, organization_guid: 'org', space_guid: 'space' }
  assert.equal((await call('PUT', '/v2/service_instances/i-1', body)).status, 201)
  const lines = () => following.stdout.trimEnd().split('\n')
  await until('it has shown both events', () => following.stdout.endsWith('\n') && lines().length === 2)
  assert.deepEqual(
    lines().map((line) => [JSON.parse(line).action, JSON.parse(line).outcome, JSON.parse(line).instance_id]),
    [
      ['provision', 'started', 'i-1'],
      ['provision', 'succeeded', 'i-1']
    ]
  )
  broker.child.kill('SIGTERM')
  await broker.ended
  const without = `The embedded server in ${JSON.stringify(dataDir)} cannot be reached: it runs while its broker does.\n`
  assert.deepEqual([(await following.ended).code, following.stderr], [1, without])
})
