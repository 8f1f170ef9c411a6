import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { ServiceProvider, TaskLog } from '../../../src/core/provider.ts'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { Attacker } from './attacker.ts'
import type { AvailabilityAttack, AvailabilityTargets } from './availability.ts'
import { BOUND_MS, Honest, useOnce } from './honest.ts'
import type { OwnServer } from './own-server.ts'
import { type AdminKind, Instance, leftovers, makePlainAdmin } from './support.ts'

/** No session of a login, and no new one, this long after its unbind was asked for: 5 s, and as much for a busy machine. */
const REVOKED_MS = 10_000
/** How long an attack may take to begin. */
const BEGIN_MS = 60_000
const STATE_DATABASE = 'osb_state'

/** An honest tenant, the broker's state, and a provider whose guard runs, on one server. */
export class Arena {
  /** Of the server. */
  readonly version: string
  readonly #server: OwnServer
  readonly #provider: ServiceProvider
  readonly #root: Client
  readonly #stateUrl: string
  readonly #victim: Instance
  readonly #victimUri: string
  readonly #pooled: Client
  readonly #lines: string[]

  private constructor(parts: {
    version: string
    server: OwnServer
    provider: ServiceProvider
    root: Client
    stateUrl: string
    victim: Instance
    victimUri: string
    pooled: Client
    lines: string[]
  }) {
    this.version = parts.version
    this.#server = parts.server
    this.#provider = parts.provider
    this.#root = parts.root
    this.#stateUrl = parts.stateUrl
    this.#victim = parts.victim
    this.#victimUri = parts.victimUri
    this.#pooled = parts.pooled
    this.#lines = parts.lines
  }

  static async open(server: OwnServer, admin: AdminKind): Promise<Arena> {
    await server.start()
    const root = await connected(server.adminUrl)
    const sql = async (statement: string, values?: unknown[]) => (await root.query(statement, values)).rows
    const stateUrl = new URL(server.adminUrl)
    stateUrl.pathname = `/${STATE_DATABASE}`
    stateUrl.username = 'state'
    stateUrl.password = 'state'
    await sql(`CREATE ROLE state LOGIN PASSWORD 'state'`)
    await sql(`CREATE DATABASE ${STATE_DATABASE} OWNER state`)
    await sql(`REVOKE CONNECT, TEMPORARY ON DATABASE ${STATE_DATABASE} FROM PUBLIC`)
    const adminUrl = admin === 'superuser' ? server.adminUrl : await makePlainAdmin(sql, server.adminUrl)
    const provider = postgresqlProvider({ adminUrl, stateDatabase: STATE_DATABASE })
    const lines: string[] = []
    await startGuard(provider, lines)
    const victim = new Instance(provider)
    await victim.provision()
    const victimUri = await victim.uri('standing')
    const pooled = await connected(victimUri)
    await pooled.query('CREATE TABLE orders (id serial, at timestamptz DEFAULT now())')
    const [row] = await sql(`SELECT split_part(version(), ' on ', 1) AS version`)
    return new Arena({
      version: String(row?.version),
      server,
      provider,
      root,
      stateUrl: stateUrl.href,
      victim,
      victimUri,
      pooled,
      lines
    })
  }

  /**
   * Lets one tenant attack, and everybody else go on meanwhile.
   * @returns what honest steps took, and how the attack went
   */
  async judge(attackOn: (targets: AvailabilityTargets) => AvailabilityAttack) {
    const [hostile, doomed] = [new Instance(this.#provider), new Instance(this.#provider)]
    await Promise.all([hostile.provision(), doomed.provision()])
    const bindings = { owner: await hostile.uri('b'), reader: await hostile.uri('r', { role: 'reader' }) }
    const doomedUri = await doomed.uri('b')
    const logins = [bindings.owner, bindings.reader].map((uri) => new URL(uri).username)
    const oids = await this.#sql('SELECT oid::int8 AS oid FROM pg_roles WHERE rolname = ANY ($1)', [logins])
    const attacker = new Attacker(attackOn(this.#targets(hostile, doomed, [bindings.owner, doomedUri])), bindings)
    const honest = new Honest()
    let judged = false
    try {
      await attacker.start()
      await this.#begun(attacker)
      await this.#goOn(honest, doomed, doomedUri)
      await this.#revoke(honest, { hostile, bindings, oids: oids.map(({ oid }) => Number(oid)) })
      judged = true
    } finally {
      await attacker.stop()
      // The next attack is judged on its own.
      if (!judged) await Promise.allSettled([hostile.deprovision(), doomed.deprovision()])
    }
    assert.deepEqual(await leftovers(this.#sql, hostile.token), [], 'the attacker left something')
    assert.deepEqual(await leftovers(this.#sql, doomed.token), [], 'the victim left something')
    const gone = await this.#sql('SELECT gid FROM pg_prepared_xacts WHERE gid IN ($1, $2, $3)', [
      'hostile',
      'flood1',
      'flood2'
    ])
    assert.deepEqual(gone, [], 'a prepared transaction is left')
    return { honest, outcome: attacker.outcome }
  }

  /** What the guard has logged since the last call. */
  guardLines(): string[] {
    return this.#lines.splice(0)
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#pooled.end(), this.#root.end()])
    await this.#provider.stop?.()
    await this.#server.remove()
  }

  async #begun(attacker: Attacker): Promise<void> {
    for (const end = Date.now() + BEGIN_MS; !(await attacker.isOn(this.#sql)); ) {
      if (Date.now() > end) throw new Error(`The attack did not begin: ${JSON.stringify(attacker.outcome)}`)
      await sleep(50)
    }
  }

  /** All at once, because one that waits must not keep the others from being judged. */
  async #goOn(honest: Honest, doomed: Instance, doomedUri: string): Promise<void> {
    const fresh = new Instance(this.#provider)
    const results = await Promise.allSettled([
      honest.step('query on an open connection', () => this.#pooled.query('INSERT INTO orders DEFAULT VALUES')),
      honest.step('login of a tenant', () => useOnce(this.#victimUri, 'SELECT count(*) FROM orders')),
      honest.step('login of a tenant that is attacked', () => useOnce(doomedUri, 'SELECT 1')),
      honest.step('login to the state of the broker', () => useOnce(this.#stateUrl, 'SELECT 1')),
      honest.step('health of the provider', async () => await this.#provider.health?.()),
      this.#rotate(honest),
      this.#live(honest, fresh)
    ])
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
    await honest.step('unbind', (signal) => doomed.unbind('b', { signal }))
    await assert.rejects(useOnce(doomedUri, 'SELECT 1'), 'an unbound login still works')
    await honest.step('deprovision', (signal) => doomed.deprovision({ signal }))
  }

  /** A binding of a standing instance comes and goes. */
  async #rotate(honest: Honest): Promise<void> {
    const id = randomUUID()
    const bound = await honest.step('bind', (signal) => this.#victim.bind(id, {}, { signal }))
    const uri = String(bound.credentials?.uri)
    await honest.step('login of a new binding', () => useOnce(uri, 'INSERT INTO orders DEFAULT VALUES'))
    await honest.step('unbind', (signal) => this.#victim.unbind(id, { signal }))
    await assert.rejects(useOnce(uri, 'SELECT 1'), 'an unbound login still works')
  }

  /** A whole life. */
  async #live(honest: Honest, instance: Instance): Promise<void> {
    await honest.step('provision', (signal) => instance.provision({ signal }))
    const bound = await honest.step('bind', (signal) => instance.bind('b', {}, { signal }))
    await honest.step('login of a new binding', () =>
      useOnce(String(bound.credentials?.uri), 'CREATE TABLE t (id int)')
    )
    await honest.step('deprovision', (signal) => instance.deprovision({ signal }))
    assert.deepEqual(await leftovers(this.#sql, instance.token), [], 'a new instance left something')
  }

  /** The attack goes on while its own bindings and its instance are removed. */
  async #revoke(
    honest: Honest,
    { hostile, bindings, oids }: { hostile: Instance; bindings: Record<'owner' | 'reader', string>; oids: number[] }
  ) {
    await honest.step('repair of the attacker', () => hostile.repair().catch(() => []))
    for (const [id, uri] of [
      ['b', bindings.owner],
      ['r', bindings.reader]
    ] as const) {
      const began = Date.now()
      const unbinding = honest.step('unbind of the attacker', (signal) => hostile.unbind(id, { signal }))
      const revoked = this.#shutOut(uri).then(() => Date.now() - began)
      await Promise.all([unbinding, revoked])
      const ms = await revoked
      assert.ok(ms <= REVOKED_MS, `the login worked for ${ms} ms after its unbind was asked for`)
    }
    const sessions = await this.#sql('SELECT pid FROM pg_stat_get_activity(NULL) WHERE usesysid::int8 = ANY ($1)', [
      oids
    ])
    assert.deepEqual(sessions, [], 'sessions of unbound logins')
    await honest.step('deprovision of the attacker', (signal) => hostile.deprovision({ signal }))
  }

  /** Waits until a login is refused. */
  async #shutOut(uri: string): Promise<void> {
    for (const end = Date.now() + BOUND_MS; Date.now() < end; ) {
      const inside = await useOnce(uri, 'SELECT 1').then(
        () => true,
        (error: unknown) =>
          !(
            error instanceof Error &&
            'code' in error &&
            ['28P01', '28000', '3D000', '42501'].includes(String(error.code))
          )
      )
      if (!inside) return
    }
    throw new Error('A login that is being unbound is not refused.')
  }

  #targets(hostile: Instance, doomed: Instance, [own = '', other = '']: readonly string[]): AvailabilityTargets {
    return {
      database: hostile.database,
      login: new URL(own).username,
      victimDatabase: doomed.database,
      victimOwner: `osb_o_${doomed.token}`,
      victimReader: `osb_r_${doomed.token}`,
      victimLogin: new URL(other).username,
      stateDatabase: STATE_DATABASE,
      maintenanceDatabase: 'postgres'
    }
  }

  readonly #sql = async (statement: string, values?: unknown[]): Promise<Record<string, unknown>[]> =>
    (await this.#root.query<Record<string, unknown>>(statement, values)).rows
}

/** Only a provider that is given a context begins its background work. */
async function startGuard(provider: ServiceProvider, lines: string[]): Promise<void> {
  const keep: TaskLog['warn'] = (fields, message) => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const log: TaskLog = { debug() {}, info: keep, warn: keep, error: keep }
  await provider.start?.({ log, audit: async () => undefined })
}

async function connected(connectionString: string): Promise<Client> {
  const client = new Client({ connectionString })
  client.on('error', () => undefined)
  await client.connect()
  return client
}
