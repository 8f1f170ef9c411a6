import { type Static, Type } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import type { JsonObject } from '../../../schemas/common.ts'
import { Rejected } from '../../core/provider.ts'

/** What a binding may do: everything (`owner`) or read (`reader`). */
export const BindingRole = Type.Union([Type.Literal('owner'), Type.Literal('reader')])
export type BindingRole = Static<typeof BindingRole>

const BindParameters = Type.Object({ role: Type.Optional(BindingRole) }, { additionalProperties: false })

/**
 * The role that a bind asks for.
 * @throws {Rejected} 400: a misspelt `role` must not end as an owner's credentials
 */
export function bindingRole(parameters: JsonObject): BindingRole {
  if (!Value.Check(BindParameters, parameters)) {
    throw new Rejected(400, 'A binding takes one parameter, "role", which is "owner" (the default) or "reader".')
  }
  return parameters.role ?? 'owner'
}

/** What the user adds to a database's name: the token before it and PostgreSQL's 63 bytes leave room for this much. */
export const DatabaseLabel = Type.String({ pattern: '^[a-z][a-z0-9_]{0,29}$' })

/**
 * The name that the user wants to find again in that of the database; undefined when none is asked for.
 * @throws {Rejected} 400 when it is not one that can be part of a name
 */
export function databaseLabel({ database }: JsonObject): string | undefined {
  if (database === undefined || Value.Check(DatabaseLabel, database)) return database
  throw new Rejected(
    400,
    '"database" is a name of at most 30 characters: a lower-case letter, then lower-case letters, digits and "_".'
  )
}
