import type { Check } from '../../check.ts'
import { bindingCreationChecks } from './binding.ts'

/** Bindings: creating, rotating, fetching, unbinding, polling; parameters by their schemas. */
export const bindingChecks: readonly Check[] = [...bindingCreationChecks]
