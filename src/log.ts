import type { FastifyServerOptions } from 'fastify'
import { destination } from 'pino'
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
  if (format === 'json' || (format === undefined && !terminal)) return { level, stream: turnByTurn() }
  try {
    const { default: pretty } = await import('pino-pretty')
    const ignore = 'pid,hostname,reqId'
    // A stream and no transport: it needs no thread, and no file that a bundle would lack
    return { level, stream: pretty({ colorize: terminal, singleLine: true, ignore, sync: true }) }
  } catch (error) {
    if (!isMissing(error)) throw error
    if (format === undefined) return { level, stream: turnByTurn() }
    throw new ConfigError('LOG_FORMAT is "pretty", and pino-pretty is not installed: npm install pino-pretty.', {
      cause: error
    })
  }
}

/** More is not kept back, whatever a turn has to say. */
const MAX_CHARACTERS = 64 * 1024

/**
 * Standard output, to which the lines of one turn of the event loop are written together: a write to a pipe takes longer than
 * all else about a line, and the process waits for it. What is left is written before the process exits.
 */
function turnByTurn(): { write(line: string): void; flushSync(): void } {
  const output = destination({ dest: 1, sync: true })
  let lines = ''
  const flushSync = () => {
    const text = lines
    lines = ''
    if (text !== '') output.write(text)
  }
  process.once('exit', flushSync)
  return {
    write(line) {
      if (lines === '') setImmediate(flushSync)
      lines += line
      if (lines.length >= MAX_CHARACTERS) flushSync()
    },
    flushSync
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND'
}
