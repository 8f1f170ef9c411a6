import { type Static, Type } from '@sinclair/typebox'

/** The three states of the wire; note the space (spec: Polling Last Operation). */
export const OperationState = Type.Union([
  Type.Literal('in progress'),
  Type.Literal('succeeded'),
  Type.Literal('failed')
])
export type OperationState = Static<typeof OperationState>

/** Query of both `last_operation` routes; stale or unknown hints are never an error. */
export const LastOperationQuery = Type.Object({
  service_id: Type.Optional(Type.String()),
  plan_id: Type.Optional(Type.String()),
  operation: Type.Optional(Type.String())
})
export type LastOperationQuery = Static<typeof LastOperationQuery>

/** Answer of both `last_operation` routes; the two flags belong to failed updates and deprovisions alone. */
export const LastOperation = Type.Object({
  state: OperationState,
  description: Type.Optional(Type.String({ minLength: 1 })),
  instance_usable: Type.Optional(Type.Boolean()),
  update_repeatable: Type.Optional(Type.Boolean())
})
export type LastOperation = Static<typeof LastOperation>
