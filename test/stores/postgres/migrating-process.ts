import { Pool } from 'pg'
import { migrate } from '../../../src/stores/postgres/index.ts'

/** `node migrating-process.ts URL DIRECTORY`: a replica that migrates, for a test to kill. */
const [connectionString, directory = ''] = process.argv.slice(2)
const pool = new Pool({ connectionString, max: 2 })
await migrate(pool, { directory })
await pool.end()
