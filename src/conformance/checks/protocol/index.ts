import type { Check } from '../../check.ts'
import { authenticationChecks } from './authentication.ts'
import { catalogChecks } from './catalog.ts'
import { headerChecks } from './headers.ts'
import { idChecks } from './ids.ts'
import { malformedChecks } from './malformed.ts'

/** Headers, authentication, ids, malformed requests and the catalog. */
export const protocolChecks: readonly Check[] = [
  ...catalogChecks,
  ...headerChecks,
  ...authenticationChecks,
  ...idChecks,
  ...malformedChecks
]
