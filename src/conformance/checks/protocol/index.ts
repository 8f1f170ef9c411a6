import type { Check } from '../../check.ts'
import { apiVersionChecks } from './api-version.ts'

/** Headers, authentication, errors, content type and the catalog. */
export const protocolChecks: readonly Check[] = [...apiVersionChecks]
