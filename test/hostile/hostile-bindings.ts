import { randomUUID } from 'node:crypto'
import type { HostileBindings as Uris } from '../providers/postgresql/attacker.ts'
import type { Requests } from './requests.ts'

type Kind = keyof Uris

interface Holder {
  readonly requests: Requests
  readonly instanceId: string
  /** Times a request and writes down its failure. */
  readonly asked: <T>(kind: string, work: () => Promise<T>) => Promise<T | undefined>
}

/** The credentials of an attacker, who asks for new ones when its logins are suspended. */
export class HostileBindings implements Uris {
  readonly #holder: Holder
  readonly #uris: Record<Kind, string>
  readonly #ids: Record<Kind, string>

  private constructor(holder: Holder, uris: Record<Kind, string>, ids: Record<Kind, string>) {
    this.#holder = holder
    this.#uris = uris
    this.#ids = ids
  }

  /** Undefined when a bind failed. */
  static async of(holder: Holder): Promise<HostileBindings | undefined> {
    const ids = { owner: randomUUID(), reader: randomUUID() }
    const owner = await bind(holder, 'owner', ids.owner)
    const reader = await bind(holder, 'reader', ids.reader)
    return owner === undefined || reader === undefined ? undefined : new HostileBindings(holder, { owner, reader }, ids)
  }

  get owner(): string {
    return this.#uris.owner
  }

  get reader(): string {
    return this.#uris.reader
  }

  /** Unbinds and binds anew. */
  async renew(kind: Kind): Promise<void> {
    await this.#holder.asked('unbind', () => this.unbind(kind))
    const id = randomUUID()
    this.#ids[kind] = id
    this.#uris[kind] = (await bind(this.#holder, kind, id)) ?? this.#uris[kind]
  }

  async unbind(kind: Kind): Promise<void> {
    await this.#holder.requests.unbind(this.#holder.instanceId, this.#ids[kind])
  }
}

function bind({ requests, instanceId, asked }: Holder, kind: Kind, id: string): Promise<string | undefined> {
  return asked('bind', () => requests.bind(instanceId, id, kind === 'reader' ? { role: 'reader' } : {}))
}
