import type { Check } from '../check.ts'
import { bindingChecks } from './bindings/index.ts'
import { instanceChecks } from './instances/index.ts'
import { protocolChecks } from './protocol/index.ts'

/** Every check, in the order of the specification. */
export const checks: readonly Check[] = [...protocolChecks, ...instanceChecks, ...bindingChecks]
