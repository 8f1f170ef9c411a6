import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { HostileSession, type Script } from '../providers/postgresql/hostile-session.ts'
import { HostileBindings } from './hostile-bindings.ts'
import type { HostileScene } from './hostile-scene.ts'
import type { Journal } from './journal.ts'
import { passing } from './passing.ts'
import { BOUND_MS, Requests } from './requests.ts'

/** A database above its quota is locked by the next round of the watch, which begins every minute. */
const LOCKED_MS = 120_000
const LOOK_MS = 250
const MEGABYTE = `decode(repeat(md5(random()::text), 32768), 'hex')`

const FILL = [
  'CREATE TABLE IF NOT EXISTS big (body bytea)',
  'ALTER TABLE big ALTER body SET STORAGE EXTERNAL',
  `INSERT INTO big SELECT ${MEGABYTE} FROM generate_series(1, 8)`
]

/** What an attacker keeps open so that its database cannot be locked. */
function held(database: string): Record<string, string> {
  return {
    'its own password changed': `ALTER ROLE CURRENT_USER PASSWORD 'x'`,
    'GRANT on its database': `GRANT CONNECT ON DATABASE ${database} TO CURRENT_USER`,
    'REVOKE on its database': `REVOKE TEMPORARY ON DATABASE ${database} FROM CURRENT_USER`,
    'a setting in its database': `ALTER ROLE CURRENT_USER IN DATABASE ${database} SET work_mem = '5MB'`
  }
}

/** Writes around the storage quota until the end of the run: one instance after another, each until it is locked. */
export async function exceedQuotas(scene: HostileScene, journal: Journal, goOn: () => boolean): Promise<void> {
  const requests = new Requests(scene.client('hostile'))
  const asked = <T>(kind: string, work: () => Promise<T>) => journal.honestly(`${kind} of the attacker`, BOUND_MS, work)
  for (let turn = 0; goOn(); turn += 1) {
    const instanceId = randomUUID()
    await asked('provision', () => requests.provision(instanceId, 'quota'))
    const bindings = await HostileBindings.of({ requests, instanceId, asked })
    if (bindings !== undefined) {
      const attacks = Object.entries(held(new URL(bindings.owner).pathname.slice(1)))
      const [what = '', statement = ''] = attacks[turn % attacks.length] ?? []
      await exceed({ name: `storage quota: ${what}`, bindings, statement, journal, goOn })
    }
    await asked('deprovision', () => requests.deprovision(instanceId))
  }
}

interface Excess {
  readonly name: string
  readonly bindings: HostileBindings
  readonly statement: string
  readonly journal: Journal
  readonly goOn: () => boolean
}

async function exceed({ name, bindings, statement, journal, goOn }: Excess): Promise<void> {
  journal.attackStarts(name)
  const outcome: Record<string, number> = {}
  const holding: Script = { as: 'login', steps: ['BEGIN', statement] }
  const growing: Script = {
    as: 'login',
    steps: [`SELECT lo_from_bytea(0, ${MEGABYTE})`, 'SELECT pg_sleep(1)'],
    end: 'again'
  }
  const sessions: HostileSession[] = []
  try {
    // The tenants of the other lanes fill the lock table now and then.
    await passing(journal, () => run(bindings.owner, FILL))
    sessions.push(...[holding, growing].map((script) => new HostileSession(() => bindings.owner, script)))
    let begun = false
    let locked = false
    for (const end = Date.now() + LOCKED_MS; !locked && goOn(); await sleep(LOOK_MS)) {
      if (!begun && (sessions[0]?.completed ?? 0) > 0) journal.attackBegins(name)
      begun ||= (sessions[0]?.completed ?? 0) > 0
      const refusal = await codeOfRefusal(bindings.owner, 'INSERT INTO big DEFAULT VALUES')
      locked = refusal === '42501'
      // The guard has suspended the login, so the database shows nothing until there is a new one.
      if (refusal === '28000') {
        journal.renewed(name)
        await bindings.renew('owner')
      }
      if (!locked && Date.now() > end) throw new Error(`The database is not locked within ${LOCKED_MS} ms.`)
    }
    outcome[locked ? 'locked' : 'over at the end of the run'] = 1
  } catch (error) {
    journal.fail(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  } finally {
    await Promise.all(sessions.map((session) => session.stop()))
    for (const { ends } of sessions) for (const [code, count] of ends) outcome[code] = (outcome[code] ?? 0) + count
    journal.attackEnds(name, outcome)
  }
}

async function run(connectionString: string, statements: readonly string[]): Promise<void> {
  const client = new Client({ connectionString, connectionTimeoutMillis: BOUND_MS })
  client.on('error', () => undefined)
  try {
    await client.connect()
    for (const statement of statements) await client.query(statement)
  } finally {
    await client.end().catch(() => undefined)
  }
}

async function codeOfRefusal(uri: string, statement: string): Promise<string | undefined> {
  try {
    await run(uri, [statement])
    return undefined
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : 'lost'
  }
}
