import type { StartContext, TaskLog, WatchRound } from '../../../core/provider.ts'
import { meter } from '../../../telemetry/index.ts'
import { readInstanceState } from '../names.ts'
import { OFFENCES } from './look.ts'

/** Why the guard ends a session; the name in logs, audit events and metrics. The one that explains most comes first. */
export const RULES = [...OFFENCES, 'locks'] as const
export type Rule = (typeof RULES)[number]

/** What the guard did. */
export type Action = 'end' | 'roll back' | 'suspend' | 'lift'

/** One act of the guard against a tenant. */
export interface Act {
  readonly rule: Rule
  readonly action: Action
  readonly server: string
  readonly database?: string
  readonly login: string
  readonly token: string
}

/** Instances whose token is remembered. One that was forgotten is found again by the next round of the watch. */
const REMEMBERED = 10_000
/** Audit events that wait for the id of their instance, or for the store. */
const WAITING = 1_000

const MESSAGES: Record<Action, string> = {
  end: 'The guard ended a session of a tenant.',
  'roll back': 'The guard rolled back a prepared transaction of a tenant.',
  suspend: 'The guard suspended a login of a tenant for 5 minutes.',
  lift: 'The guard lifted the suspension of a login.'
}

/** Logs, counts and audits what the guard does. */
export class Journal {
  readonly #acts = meter().createCounter('osb.postgresql.guard.acts', {
    description: 'What the guard of the provider postgresql did to tenants, by rule',
    unit: '{act}'
  })
  readonly #instances = new Map<string, string>()
  readonly #waiting: Act[] = []
  #context: StartContext | undefined
  #dropped = 0

  /** @param servers their names; counters begin at 0, so that the first act is an increase */
  begin(context: StartContext, servers: readonly string[]): void {
    this.#context = context
    for (const server of servers) {
      for (const rule of RULES) this.#count({ rule, action: 'end', server }, 0)
    }
  }

  #count({ rule, action, server }: Pick<Act, 'rule' | 'action' | 'server'>, acts: number): void {
    this.#acts.add(acts, { 'osb.guard.rule': rule, 'osb.guard.action': action, 'osb.postgresql.server': server })
  }

  get log(): TaskLog | undefined {
    return this.#context?.log
  }

  /** Remembers which instance a token belongs to. */
  learn(instanceId: string, token: string): void {
    // The newest last, so that the first is the one to forget.
    this.#instances.delete(token)
    this.#instances.set(token, instanceId)
    const [oldest] = this.#instances.keys()
    if (this.#instances.size > REMEMBERED && oldest !== undefined) this.#instances.delete(oldest)
  }

  note(act: Act): void {
    const { rule, action, server, database, login, token } = act
    this.#count(act, 1)
    const instance = this.#instances.get(token)
    const fields = { rule, server, database, login, instance }
    if (action === 'lift') this.log?.info(fields, MESSAGES[action])
    else this.log?.warn(fields, MESSAGES[action])
    if (instance === undefined) this.#keep(act)
    else void this.#audit(instance, act)
  }

  /** Writes the audit events that wait. Looks through all instances if the instance of one is unknown. */
  async resolve(round: Pick<WatchRound, 'instances' | 'log'>): Promise<void> {
    const acts = this.#waiting.splice(0)
    if (this.#dropped > 0) round.log.warn({ events: this.#dropped }, 'Too many acts of the guard waited for the audit.')
    this.#dropped = 0
    const unknown = new Set(acts.map(({ token }) => token).filter((token) => !this.#instances.has(token)))
    if (unknown.size > 0) {
      for await (const { instanceId, state } of round.instances({ bindings: false })) {
        const token = readInstanceState(state)?.token
        if (token === undefined || !unknown.delete(token)) continue
        this.learn(instanceId, token)
        if (unknown.size === 0) break
      }
    }
    for (const act of acts) {
      const instance = this.#instances.get(act.token)
      // Its instance was removed since, or an operation on it never finished. The log has the act.
      if (instance !== undefined) await this.#audit(instance, act)
    }
  }

  async #audit(instance: string, act: Act): Promise<void> {
    try {
      await this.#context?.audit(instance, descriptionOf(act))
    } catch (error) {
      this.log?.debug({ instance, reason: String(error) }, 'An act of the guard waits for the audit.')
      this.#keep(act)
    }
  }

  #keep(act: Act): void {
    if (this.#waiting.length < WAITING) this.#waiting.push(act)
    else this.#dropped += 1
  }
}

function descriptionOf({ rule, action, database, login }: Act): string {
  const place = database === undefined ? '' : ` in ${database}`
  if (action === 'suspend') return `suspended ${login} for 5 minutes: ${rule}`
  if (action === 'lift') return `lifted the suspension of ${login}`
  if (action === 'roll back') return `rolled back a prepared transaction of ${login}${place}: ${rule}`
  return `ended a session of ${login}${place}: ${rule}`
}
