import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { QueryResultRow } from 'pg'
import { look } from '../../../src/providers/postgresql/guard/look.ts'
import type { Query } from '../../../src/providers/postgresql/statement.ts'
import { adminKinds, connect, instanceOf, setUp } from './support.ts'

for (const admin of adminKinds) {
  for (const [what, before] of Object.entries({ created: 'no role', enabled: 'a disabled role' })) {
    test(`look: with ${admin}, a login that is ${what} during a look is not taken for a revoked one`, async (t) => {
      const { provider, adminUrl, sql } = await setUp(t, { admin })
      const mine = await instanceOf(t, provider)
      const client = await connect(t, adminUrl)
      let uri: string | undefined
      if (before === 'a disabled role') {
        uri = await mine.uri('b')
        await sql(`ALTER ROLE ${new URL(uri).username} NOLOGIN`)
      }
      // The snapshot of the look is older than the session, as when a busy machine interrupts the look.
      await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ')
      await client.query('SELECT FROM pg_roles LIMIT 1')
      if (uri !== undefined) await sql(`ALTER ROLE ${new URL(uri).username} LOGIN`)
      const tenant = await connect(t, uri ?? (await mine.uri('b')))
      await tenant.query('SELECT count(pg_advisory_lock(g)) FROM generate_series(1, 200) AS g')
      const query: Query = async <Row extends QueryResultRow>(sql: string, values: readonly unknown[] = []) => {
        const { rows } = await client.query<Row>(sql, [...values])
        // The statements after it have snapshots of their own.
        if (sql.includes('pg_lock_status')) await client.query('COMMIT')
        return rows
      }
      const { holders } = await look(query)
      const own = holders.filter(({ token }) => token === mine.token)
      assert.deepEqual(
        own.map(({ offences }) => offences),
        [[]]
      )
    })
  }
}
