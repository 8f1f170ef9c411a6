import type { TelemetryLog } from './sdk.ts'
import { telemetrySettings, type Variables } from './settings.ts'

/** How long the process waits for what is still to be exported when it ends. */
const FLUSH_MS = 1_500

/**
 * Starts the SDK of OpenTelemetry when the environment asks for it; before anything makes an instrument. Nothing of it is
 * loaded otherwise. Returns the way to send what is left and to stop.
 * @throws {ConfigError}
 */
export async function startTelemetry(variables: Variables, log: TelemetryLog): Promise<() => Promise<void>> {
  const settings = telemetrySettings(variables)
  if (settings === undefined) return async () => {}
  const { startSdk } = await import('./sdk.ts')
  const shutdown = await startSdk(settings, log)
  return async () => {
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(() => {
      log.warn('the last spans and metrics could not be sent in time')
      late.resolve()
    }, FLUSH_MS)
    const sent = shutdown().catch((error: unknown) =>
      log.warn({ err: error }, 'the last spans and metrics were not sent')
    )
    await Promise.race([sent, late.promise])
    clearTimeout(timer)
  }
}
