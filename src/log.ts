import type { FastifyServerOptions } from 'fastify'
import { ConfigError, type Environment } from './config.ts'

/**
 * How the process logs: JSON for machines, on a terminal lines for people. The latter need pino-pretty, which production does
 * without.
 * @throws {ConfigError} when it is asked for and not installed
 */
export async function loggerOptions(
  { LOG_FORMAT: format, LOG_LEVEL: level }: Pick<Environment, 'LOG_FORMAT' | 'LOG_LEVEL'>,
  terminal: boolean
): Promise<NonNullable<FastifyServerOptions['logger']>> {
  if (format === 'json' || (format === undefined && !terminal)) return { level }
  try {
    const { default: pretty } = await import('pino-pretty')
    const ignore = 'pid,hostname,reqId'
    // A stream and no transport: it needs no thread, and no file that a bundle would lack
    return { level, stream: pretty({ colorize: terminal, singleLine: true, ignore, sync: true }) }
  } catch (error) {
    if (!isMissing(error)) throw error
    if (format === undefined) return { level }
    throw new ConfigError('LOG_FORMAT is "pretty", and pino-pretty is not installed: npm install pino-pretty.', {
      cause: error
    })
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
}
