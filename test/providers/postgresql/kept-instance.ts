import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename } from 'node:path'
import type { JsonObject } from '../../../schemas/common.ts'
import type { ServiceProvider } from '../../../src/core/provider.ts'
import { type Call, Instance } from './support.ts'

/** An instance whose states are in a file, where they outlive the process; of two processes one works at a time. */
export class KeptInstance extends Instance {
  override readonly id: string
  override readonly states: Map<string, JsonObject>

  constructor(provider: ServiceProvider, file: string) {
    super(provider)
    this.id = basename(file)
    this.states = new KeptStates(file)
  }
}

class KeptStates extends Map<string, JsonObject> {
  readonly #write: () => void

  constructor(file: string) {
    super()
    const kept: Record<string, JsonObject> = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {}
    for (const [key, state] of Object.entries(kept)) super.set(key, state)
    // Whole before the save is answered; a kill comes only after that
    this.#write = () => writeFileSync(file, JSON.stringify(Object.fromEntries(this)), { mode: 0o600 })
  }

  override set(key: string, state: JsonObject): this {
    super.set(key, state)
    this.#write()
    return this
  }

  override delete(key: string): boolean {
    const known = super.delete(key)
    this.#write()
    return known
  }
}

/** In the order of an instance's life. */
export const operations = ['provision', 'bind owner', 'bind reader', 'update', 'unbind', 'deprovision'] as const
export type Operation = (typeof operations)[number]

/** What each operation is here; all can be repeated. */
export const perform: Record<Operation, (instance: Instance, call: Call) => Promise<unknown>> = {
  provision: (instance, call) => instance.provision(call),
  'bind owner': (instance, call) => instance.bind('owner', {}, call),
  'bind reader': (instance, call) => instance.bind('reader', { role: 'reader' }, call),
  update: (instance, call) => instance.update({ connection_limit: 4 }, call),
  unbind: (instance, call) => instance.unbind('owner', call),
  deprovision: (instance, call) => instance.deprovision(call)
}

/** When the process dies: before a statement has left it, or when the server has it, and nobody waits any more. */
export type Moment = 'before' | 'after'

/** What a killed worker is given, as JSON on its standard input: an argument would show the password to everybody. */
export interface Order {
  readonly adminUrl: string
  readonly operation: Operation
  /** Statement, from 1. */
  readonly at: number
  readonly moment: Moment
  /** Of the {@link KeptInstance}. */
  readonly file: string
}
