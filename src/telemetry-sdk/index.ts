import type { RequestListener } from 'node:http'
import type { TelemetryLog } from './sdk.ts'
import { telemetrySettings, type Variables } from './settings.ts'

/** How long the process waits for what is still to be exported when it ends. */
const FLUSH_MS = 1_500

export { prometheusAddress } from './settings.ts'

/** What a process needs of its telemetry. */
export interface Telemetry {
  /** Answers a scrape of Prometheus; undefined unless the environment asks for its metrics. */
  readonly metrics: RequestListener | undefined
  /** Sends what is left and stops. */
  stop(): Promise<void>
}

/**
 * Starts the SDK of OpenTelemetry when the environment asks for it; before anything makes an instrument. Nothing of it is
 * loaded otherwise.
 * @throws {ConfigError}
 */
export async function startTelemetry(variables: Variables, log: TelemetryLog): Promise<Telemetry> {
  const settings = telemetrySettings(variables)
  if (settings === undefined) return { metrics: undefined, stop: async () => undefined }
  const { startSdk } = await import('./sdk.ts')
  const { metrics, shutdown } = await startSdk(settings, log)
  const stop = async () => {
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
  return { metrics, stop }
}
