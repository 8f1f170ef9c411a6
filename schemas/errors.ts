import { type Static, Type } from '@sinclair/typebox'
import { NonEmptyString } from './common.ts'

/** Body of every error answer (spec: Service Broker Errors). */
export const ErrorBody = Type.Object({
  error: Type.Optional(NonEmptyString),
  description: Type.Optional(NonEmptyString),
  instance_usable: Type.Optional(Type.Boolean()),
  update_repeatable: Type.Optional(Type.Boolean())
})
export type ErrorBody = Static<typeof ErrorBody>

const described = (description: string) => Type.Object(ErrorBody.properties, { description })

/** The refusals any route may answer with; spread into a route's `response`. */
export const errorResponses = {
  400: described('The request is malformed, or names something that does not exist.'),
  401: described('The credentials are missing or wrong.'),
  404: described('The resource does not exist.'),
  409: described('The id is taken by a resource with other attributes.'),
  410: described('The resource does not exist (any more).'),
  412: described('The X-Broker-API-Version header is missing or not supported.'),
  422: described('AsyncRequired, ConcurrencyError, RequiresApp, MaintenanceInfoConflict, or an unsupported change.'),
  429: described('Too many logins have failed; try again after `Retry-After` seconds.'),
  500: described('The broker failed; the cause is in its log.'),
  503: described('Something the broker needs is out of reach; try again after `Retry-After` seconds.'),
  504: described('The work did not end in time; it is undone in the background.')
}
