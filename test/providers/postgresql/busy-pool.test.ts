import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { eventually } from './guard-scene.ts'
import { adminKinds, cleanUp, connect, Instance, instanceOf, setUp } from './support.ts'

for (const admin of adminKinds) {
  test(`revocation: with ${admin}, it does not wait for maintenance connections that backups keep`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'busy-pool-'))
    cleanUp(t, () => rmSync(folder, { recursive: true }))
    const [begun, end] = [join(folder, 'begun'), join(folder, 'end')]
    const { provider, sql } = await setUp(t, {
      admin,
      poolSize: 1,
      backupCommand: `touch '${begun}'; while [ ! -e '${end}' ]; do sleep 0.05; done`
    })
    const [instance, removed] = [await instanceOf(t, provider), await instanceOf(t, provider)]
    const uris = [await instance.uri('b'), await removed.uri('b')]
    for (const uri of uris) await connect(t, uri)
    const saved = new Instance(provider)
    await saved.provision()
    const backup = saved.deprovision()
    cleanUp(t, async () => {
      writeFileSync(end, '')
      await backup
    })
    await eventually(() => existsSync(begun), 'the backup begins')
    const removals = Promise.allSettled([instance.unbind('b'), removed.deprovision()])
    await eventually(async () => {
      const logins = uris.map((uri) => new URL(uri).username)
      const rows = await sql(
        `SELECT FROM pg_roles WHERE rolname = ANY ($1) AND rolcanlogin
         UNION ALL SELECT FROM pg_stat_activity WHERE usename = ANY ($1)`,
        [logins]
      )
      return rows.length === 0
    }, 'the logins are revoked')
    writeFileSync(end, '')
    assert.deepEqual(
      (await removals).map(({ status }) => status),
      ['fulfilled', 'fulfilled']
    )
  })
}
