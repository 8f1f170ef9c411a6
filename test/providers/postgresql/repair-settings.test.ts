import assert from 'node:assert/strict'
import { connect as connectTcp, createServer, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import {
  type AdminKind,
  adminKinds,
  cleanUp,
  connect,
  type Instance,
  instanceOf,
  type Scene,
  setUp
} from './support.ts'

const MANY_BYTES = 16_000_000
/** Of all statements of two repairs, and the logins in between. */
const FEW_BYTES = 1_000_000

/** A provider that reaches the server through a relay, which counts what the server sends. */
async function counted(t: TestContext, admin: AdminKind) {
  const { sql, adminUrl } = await setUp(t, { admin })
  const target = new URL(adminUrl)
  const { hostname, port } = target
  let bytes = 0
  const sockets = new Set<Socket>()
  const relay = createServer((client) => {
    const server = connectTcp(Number(port), hostname)
    for (const socket of [client, server]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        for (const end of [client, server]) end.destroy()
      })
    }
    server.on('data', (data) => {
      bytes += data.length
    })
    client.pipe(server).pipe(client)
  })
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
  cleanUp(t, () => {
    for (const socket of sockets) socket.destroy()
    relay.close()
  })
  const address = relay.address()
  if (address === null || typeof address === 'string') throw new Error('The relay has no port.')
  target.port = String(address.port)
  const { provider } = await setUp(t, { adminUrl: target.href })
  const received = async (work: () => Promise<void>) => {
    bytes = 0
    await work()
    return bytes
  }
  return { provider, sql, received }
}

async function settingsOf(sql: Scene['sql'], { token }: Instance) {
  const rows = await sql(
    `SELECT d.datname::text AS database, r.rolname::text AS role, left(s.setconfig::text, 100) AS settings
     FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
     WHERE position($1 in r.rolname) > 0 ORDER BY role`,
    [token]
  )
  return rows
}

for (const admin of adminKinds) {
  test(`repair: with ${admin}, settings that a tenant made for its roles are reset without a look at their values`, async (t) => {
    const { provider, sql, received } = await counted(t, admin)
    const [instance, other] = [await instanceOf(t, provider), await instanceOf(t, provider)]
    const before = await instance.uri('owner').then(() => settingsOf(sql, instance))
    const reader = await connect(t, await instance.uri('reader', { role: 'reader' }))
    const asMade = await settingsOf(sql, instance)
    assert.equal(before.length, 1)
    const owner = await connect(t, await instance.uri('tenant'))
    const made = await settingsOf(sql, instance)
    const login = loginOf(instance, 'tenant')
    const long = 'x'.repeat(MANY_BYTES)
    await owner.query(`ALTER ROLE CURRENT_USER SET application_name = '${long}'`)
    await owner.query(`ALTER ROLE CURRENT_USER IN DATABASE ${instance.database} SET search_path = public`)
    await owner.query(`ALTER ROLE CURRENT_USER PASSWORD 'x'`)
    await owner.query('SET ROLE NONE')
    await owner.query(`ALTER ROLE CURRENT_USER SET application_name = '${long}'`)
    await owner.query(`ALTER ROLE CURRENT_USER SET role = none`)
    await owner.query(`ALTER ROLE CURRENT_USER IN DATABASE ${instance.database} SET TimeZone = 'UTC'`)
    await owner.query(`ALTER ROLE CURRENT_USER IN DATABASE ${other.database} SET work_mem = '1GB'`)
    await reader.query('SET default_transaction_read_only = off')
    await reader.query(`ALTER ROLE CURRENT_USER SET search_path = '${long}'`)
    await sql(`ALTER ROLE ${login} SET log_duration = on`)
    const findings = [
      [`role osb_o_${instance.token} has its own search_path`, true],
      [`role osb_o_${instance.token} has its own application_name`, true],
      [`role ${login} has its own TimeZone`, true],
      [`role ${login} has its own application_name`, true],
      [`role ${login} has its own role`, true],
      [`role ${login} has its own work_mem in the database ${other.database}`, true],
      [`role ${loginOf(instance, 'reader')} has its own search_path`, true]
    ]
    if (admin === 'superuser') findings.unshift([`role osb_o_${instance.token} has a password`, true])
    const bytes = await received(async () => {
      const found = await instance.repair()
      assert.deepEqual(
        found.map(({ resource, finding, healed }) => [`${resource} ${finding}`, healed]).sort(),
        findings.sort()
      )
      assert.deepEqual(await instance.repair(), [])
    })
    assert.ok(bytes < FEW_BYTES, `the server sent ${bytes} bytes`)
    const operators = { database: null, role: login, settings: '{log_duration=on}' }
    assert.deepEqual(byText(await settingsOf(sql, instance)), byText([...made, operators]))
    assert.equal(asMade.length + 1, made.length)
    const [password] = await sql('SELECT rolpassword FROM pg_authid WHERE rolname = $1', [`osb_o_${instance.token}`])
    if (admin === 'superuser') assert.equal(password?.rolpassword, null)
  })

  test(`repair: with ${admin}, a verifier of many megabytes is replaced, and is not read`, async (t) => {
    const { provider, received } = await counted(t, admin)
    const instance = await instanceOf(t, provider)
    const uri = await instance.uri('b')
    const tenant = await connect(t, uri)
    const [salt, key] = [Buffer.alloc(9_000_000).toString('base64'), Buffer.alloc(32).toString('base64')]
    await tenant.query('SET ROLE NONE')
    const { rows } = await tenant.query(`SELECT current_setting('server_version_num')::int AS version`)
    const statement = `ALTER ROLE CURRENT_USER PASSWORD 'SCRAM-SHA-256$4096:${salt}$${key}:${key}'`
    if (rows[0]?.version >= 180000) {
      await assert.rejects(tenant.query(statement), /encrypted password is too long/)
      return
    }
    await tenant.query(statement)
    const bytes = await received(async () => {
      const found = await instance.repair()
      assert.deepEqual(
        found.map(({ finding, healed }) => [finding, healed]),
        [['has another password', true]]
      )
    })
    assert.ok(bytes < FEW_BYTES, `the server sent ${bytes} bytes`)
    await connect(t, uri)
    assert.deepEqual(await instance.repair(), [])
  })
}

test('bind: the trial login of a repeated bind does not read the settings that the tenant has made', async (t) => {
  const { provider, received } = await counted(t, 'superuser')
  const instance = await instanceOf(t, provider)
  const tenant = await connect(t, await instance.uri('b'))
  await tenant.query('SET ROLE NONE')
  for (const name of ['application_name', 'search_path']) {
    await tenant.query(`ALTER ROLE CURRENT_USER SET ${name} = '${'x'.repeat(MANY_BYTES)}'`)
  }
  const bytes = await received(async () => {
    // Which settings the server sends depends on its version
    await instance
      .bind('b')
      .catch((error: unknown) => assert.match(String(error), /The server sent too much at a login/))
  })
  // What the sockets had in their buffers when the broker closed the connection counts, too
  assert.ok(bytes < MANY_BYTES / 2, `the server sent ${bytes} bytes`)
  await instance.repair()
  await instance.bind('b')
})

function loginOf({ token, states }: Instance, bindingId: string): string {
  return `osb_b_${token}_${states.get(bindingId)?.suffix}`
}

function byText(rows: object[]): string[] {
  return rows.map((row) => JSON.stringify(row)).sort()
}
