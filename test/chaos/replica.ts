import { serve } from '../../src/cli/serve.ts'
import { CallRecorder } from './calls.ts'
import { Outside } from './outside.ts'
import { scriptedProvider } from './provider.ts'

/* A replica of the chaos run: `osb serve` with the scripted provider. */

const { POSTGRESQL_ADMIN_URL, CHAOS_CALLS_PATH } = process.env
if (POSTGRESQL_ADMIN_URL === undefined || CHAOS_CALLS_PATH === undefined) {
  throw new TypeError('Set POSTGRESQL_ADMIN_URL and CHAOS_CALLS_PATH.')
}
await serve({
  providers: [scriptedProvider(new Outside(POSTGRESQL_ADMIN_URL), new CallRecorder(CHAOS_CALLS_PATH))]
})
