import type { FastifyInstance } from 'fastify'
import { ConfigError, type Environment } from '../config.ts'
import { prometheusAddress, type Telemetry } from '../telemetry-sdk/index.ts'
import { tlsFiles } from '../tls.ts'
import { listenForHealth } from './health-listener.ts'

/** The variable that is wrong, by the code of the error. */
const VARIABLE_OF_ERROR: Record<string, 'BROKER_PORT' | 'BROKER_HOST'> = {
  EADDRINUSE: 'BROKER_PORT',
  EACCES: 'BROKER_PORT',
  EADDRNOTAVAIL: 'BROKER_HOST',
  ENOTFOUND: 'BROKER_HOST'
}

/**
 * Listens for the platforms and returns the URL.
 * @throws {ConfigError} when the configured address is not available
 */
export async function listen(app: FastifyInstance, config: Environment): Promise<string> {
  try {
    // Fastify takes a server that it has not made itself for one of HTTP.
    const own = (url: string) => (tlsFiles(config) === undefined ? url : url.replace(/^http:/, 'https:'))
    const listenTextResolver = (url: string) => `Server listening at ${own(url)}`
    return own(await app.listen({ host: config.BROKER_HOST, port: config.BROKER_PORT, listenTextResolver }))
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    const variable = VARIABLE_OF_ERROR[code]
    if (variable === undefined) throw error
    throw new ConfigError(`${variable} is ${config[variable]}, which cannot be listened on: ${messageOf(error)}.`, {
      cause: error
    })
  }
}

/**
 * Listens for health checks and metrics if the environment asks for either, and returns a function that closes the listener.
 * @throws {ConfigError} when the configured address is not available
 */
export async function listenForHealthIfAsked(
  app: FastifyInstance,
  config: Environment,
  metrics: Telemetry['metrics']
): Promise<(() => Promise<void>) | undefined> {
  if (config.BROKER_HEALTH_LISTENER === 'off' && metrics === undefined) return undefined
  const { host, port } = prometheusAddress(process.env)
  try {
    return await listenForHealth(app, { host, port, metrics })
  } catch (error) {
    throw new ConfigError(
      `OTEL_EXPORTER_PROMETHEUS_HOST is ${host} and OTEL_EXPORTER_PROMETHEUS_PORT ${port}, which cannot be listened on: ` +
        `${messageOf(error)}.`,
      { cause: error }
    )
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
