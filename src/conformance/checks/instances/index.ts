import type { Check } from '../../check.ts'
import { asynchronyChecks } from './asynchrony.ts'
import { concurrencyChecks } from './concurrency.ts'
import { deprovisioningChecks } from './deprovisioning.ts'
import { fetchingChecks } from './fetching.ts'
import { haltingChecks } from './halting.ts'
import { maintenanceChecks } from './maintenance.ts'
import { pollingChecks } from './polling.ts'
import { provisioningChecks } from './provisioning.ts'
import { replayChecks } from './replay.ts'
import { updatingChecks } from './updating.ts'

/** Instances: provisioning, fetching, updating, deprovisioning, polling, concurrency. */
export const instanceChecks: readonly Check[] = [
  ...asynchronyChecks,
  ...provisioningChecks,
  ...replayChecks,
  ...maintenanceChecks,
  ...pollingChecks,
  ...fetchingChecks,
  ...updatingChecks,
  ...deprovisioningChecks,
  ...haltingChecks,
  ...concurrencyChecks
]
