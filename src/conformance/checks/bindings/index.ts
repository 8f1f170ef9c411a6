import type { Check } from '../../check.ts'
import { bindingCreationChecks } from './binding.ts'
import { bindingConcurrencyChecks } from './concurrency.ts'
import { credentialsChecks } from './credentials.ts'
import { bindingFetchChecks } from './fetching.ts'
import { parameterChecks } from './parameters.ts'
import { bindingPollingChecks } from './polling.ts'
import { rotationChecks } from './rotation.ts'
import { unbindingChecks } from './unbinding.ts'

/** Bindings: creating, rotating, fetching, unbinding, polling; parameters by their schemas. */
export const bindingChecks: readonly Check[] = [
  ...bindingCreationChecks,
  ...credentialsChecks,
  ...rotationChecks,
  ...bindingFetchChecks,
  ...bindingPollingChecks,
  ...unbindingChecks,
  ...bindingConcurrencyChecks,
  ...parameterChecks
]
