import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import type { JsonObject } from '../../../schemas/common.ts'
import { keptLog, type Line } from './failures.ts'
import { type AdminKind, connect, type Instance, instanceOf, type Scene, scalar, setUp } from './support.ts'

/** An event of the audit: the instance and the description. */
export type Audited = readonly [instanceId: string, description: string]

export interface GuardScene extends Scene {
  /** The attacker's. */
  readonly mine: Instance
  /** The victim's. */
  readonly other: Instance
  readonly lines: Line[]
  readonly audited: Audited[]
}

/** A provider whose guard runs, with an instance of an attacker and one of a victim. */
export async function guarded(
  t: TestContext,
  { options = {}, ...settings }: { admin: AdminKind; url: string; options?: JsonObject }
): Promise<GuardScene> {
  const scene = await setUp(t, settings)
  const { log, lines } = keptLog()
  const audited: Audited[] = []
  await scene.provider.start?.({
    log,
    audit: async (instanceId, description) => void audited.push([instanceId, description])
  })
  const mine = await instanceOf(t, scene.provider, { connection_limit: 40, ...options })
  const other = await instanceOf(t, scene.provider, options)
  return { ...scene, mine, other, lines, audited }
}

/** Acts of the guard in a log: rule and login. */
export function acts(lines: readonly Line[]): { rule: unknown; login: unknown; message: string | undefined }[] {
  return lines.flatMap(({ fields, message }) => {
    return 'rule' in fields && 'login' in fields ? [{ rule: fields.rule, login: fields.login, message }] : []
  })
}

/** Rules by which the guard acted against a login. */
export function rulesAgainst(lines: readonly Line[], login: string): unknown[] {
  return acts(lines).flatMap((act) => (act.login === login ? [act.rule] : []))
}

export async function eventually(condition: () => boolean | Promise<boolean>, what: string, ms = 20_000) {
  const end = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`Not within ${ms} ms: ${what}`)
    await sleep(50)
  }
}

/** A session of a tenant, and how it ends. */
export class Tenant {
  readonly client: Client
  readonly login: string
  #ended = false

  private constructor(client: Client, login: string) {
    this.client = client
    this.login = login
    client.once('end', () => {
      this.#ended = true
    })
  }

  static async on(t: TestContext, uri: string): Promise<Tenant> {
    const client = await connect(t, uri)
    return new Tenant(client, String(await scalar(client, 'SELECT session_user')))
  }

  get ended(): boolean {
    return this.#ended
  }

  async run(...statements: string[]): Promise<void> {
    for (const statement of statements) await this.client.query(statement)
  }

  /** Runs a statement that waits for a lock. The result is its error. */
  wait(statement: string): Promise<unknown> {
    return this.client.query(statement).then(
      () => undefined,
      (error: unknown) => error
    )
  }

  async assertAlive(): Promise<void> {
    assert.equal(await scalar(this.client, 'SELECT 1'), 1, `the session of ${this.login} was ended`)
  }
}

/** Whether a login succeeds within a few seconds. */
export async function canLogIn(connectionString: string): Promise<boolean> {
  const client = new Client({ connectionString, connectionTimeoutMillis: 3_000 })
  client.on('error', () => undefined)
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    client.end().catch(() => undefined)
  }
}
