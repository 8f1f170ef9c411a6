// A process that uses the tests' server, to be ended by tests in every way.
import { testPostgres } from '../helper/postgres.ts'

const { createDatabase } = await testPostgres()
process.send?.(await createDatabase())
process.on('message', (how) => {
  if (how === 'throw') throw new Error('on purpose')
  process.disconnect()
})
