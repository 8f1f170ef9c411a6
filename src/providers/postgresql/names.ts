import { randomBytes } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'
import { BindingRole } from './options.ts'

const Token = Type.String({ pattern: '^[a-z2-7]{20}$' })

/** What an instance keeps: the token that all its names carry, and whether its last state has been saved. */
export const InstanceState = Type.Object({ token: Token, backedUp: Type.Optional(Type.Boolean()) })
export type InstanceState = Static<typeof InstanceState>

/** What a binding keeps. The password is here before it is on the server, so that a repeated bind answers the same. */
export const BindingState = Type.Object({
  token: Token,
  suffix: Type.String({ pattern: '^[a-z2-7]{10}$' }),
  password: Type.String({ pattern: '^[A-Za-z0-9_-]{32,}$' }),
  role: BindingRole
})
export type BindingState = Static<typeof BindingState>

/**
 * What an instance is called on the server. Every tenant can list databases and roles, so the names say nothing of
 * the customer; 100 random bits make a collision with names that others chose as good as impossible.
 */
export interface InstanceNames {
  readonly token: string
  readonly database: string
  /** NOLOGIN; owns every object. */
  readonly owner: string
  /** NOLOGIN; may read every object. */
  readonly reader: string
  /** Of all logins of the instance, so that the catalog alone tells which they are. */
  readonly loginPrefix: string
}

/** The names that go with a token. */
export function instanceNames({ token }: Pick<InstanceState, 'token'>): InstanceNames {
  return {
    token,
    database: `osb_d_${token}`,
    owner: `osb_o_${token}`,
    reader: `osb_r_${token}`,
    loginPrefix: `osb_b_${token}_`
  }
}

/** A binding's login. */
export function loginName({ token, suffix }: Pick<BindingState, 'token' | 'suffix'>): string {
  return `osb_b_${token}_${suffix}`
}

/** State of a new instance. */
export function newInstanceState(): InstanceState {
  return { token: randomBase32(20) }
}

/** State of a new binding. */
export function newBindingState(token: string, role: BindingRole): BindingState {
  // 32 bytes as base64url: 43 characters of [A-Za-z0-9_-], which no reader of a URI has to decode
  return { token, suffix: randomBase32(10), password: randomBytes(32).toString('base64url'), role }
}

/** @throws when the state is not one that this provider saved */
export function readInstanceState(state: JsonObject | undefined): InstanceState | undefined {
  if (state === undefined) return undefined
  if (!Value.Check(InstanceState, state)) throw new Error('The state of the instance is not of this provider.')
  return state
}

/** @throws when the state is not one that this provider saved */
export function readBindingState(state: JsonObject | undefined): BindingState | undefined {
  if (state === undefined) return undefined
  if (!Value.Check(BindingState, state)) throw new Error('The state of the binding is not of this provider.')
  return state
}

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567'

function randomBase32(length: number): string {
  return Array.from(randomBytes(length), (byte) => ALPHABET.charAt(byte % 32)).join('')
}
