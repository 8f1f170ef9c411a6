import { randomBytes } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'
import { BindingRole, DatabaseLabel } from './parameters.ts'

const Token = Type.String({ pattern: '^[a-z2-7]{20}$' })

/** What an instance keeps. */
export const InstanceState = Type.Object({
  /** All its names carry it. */
  token: Token,
  /** What the user wants to find in the database's name. */
  label: Type.Optional(DatabaseLabel),
  /** Of the server that it is on; absent: the one of that time. */
  server: Type.Optional(Type.String()),
  /** Whether its last state has been saved. */
  backedUp: Type.Optional(Type.Boolean())
})
export type InstanceState = Static<typeof InstanceState>

/** What a binding keeps. Its password is in the answer alone: each attempt at a bind makes one, and none was answered before. */
export const BindingState = Type.Object({
  token: Token,
  /** As the instance's. */
  server: Type.Optional(Type.String()),
  suffix: Type.String({ pattern: '^[a-z2-7]{10}$' }),
  /** What the server has in place of the password (`scram.ts`); here before it is there. */
  verifier: Type.String({ pattern: '^SCRAM-SHA-256\\$' }),
  role: BindingRole,
  /** Of a login that does not work for ever; ISO 8601. */
  validity: Type.Optional(Type.Object({ expiresAt: Type.String(), renewBefore: Type.String() }))
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

/** The names that go with a token, as regular expressions of PostgreSQL. */
export const NAME_PATTERNS = {
  database: '^osb_d_[a-z2-7]{20}(_[a-z0-9_]+)?$',
  owner: '^osb_o_[a-z2-7]{20}$',
  login: '^osb_b_[a-z2-7]{20}_[a-z2-7]{10}$',
  /** Of owners, readers and logins. */
  role: '^osb_([or]_[a-z2-7]{20}|b_[a-z2-7]{20}_[a-z2-7]{10})$',
  /** Of owners and logins, which objects belong to. */
  possessor: '^osb_(o_[a-z2-7]{20}|b_[a-z2-7]{20}_[a-z2-7]{10})$'
} as const

/** The names that go with a token. */
export function instanceNames({ token, label }: Pick<InstanceState, 'token' | 'label'>): InstanceNames {
  return {
    token,
    database: label === undefined ? `osb_d_${token}` : `osb_d_${token}_${label}`,
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
export function newInstanceState(fields: Pick<InstanceState, 'server' | 'label'> = {}): InstanceState {
  return { token: randomBase32(20), ...fields }
}

/** State of a new binding. */
export function newBindingState(
  { token, server }: InstanceState,
  { role, verifier, lifetimeMs }: { role: BindingRole; verifier: string; lifetimeMs?: number | undefined }
): BindingState {
  const validity = lifetimeMs === undefined ? {} : { validity: validityOf(lifetimeMs) }
  return { token, ...(server === undefined ? {} : { server }), suffix: randomBase32(10), verifier, role, ...validity }
}

/** 32 bytes as base64url: 43 characters of [A-Za-z0-9_-], which no reader of a URI has to decode. */
export function newPassword(): string {
  return randomBytes(32).toString('base64url')
}

/** The last fifth of the lifetime is for those who rotate. */
function validityOf(lifetimeMs: number) {
  const now = Date.now()
  return {
    expiresAt: new Date(now + lifetimeMs).toISOString(),
    renewBefore: new Date(now + lifetimeMs * 0.8).toISOString()
  }
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
