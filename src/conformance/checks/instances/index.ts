import type { Check } from '../../check.ts'
import { provisioningChecks } from './provisioning.ts'

/** Instances: provisioning, fetching, updating, deprovisioning, polling, concurrency. */
export const instanceChecks: readonly Check[] = [...provisioningChecks]
