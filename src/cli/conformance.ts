import { parse } from 'yaml'
import type { Result } from '../conformance/check.ts'
import { isObject } from '../conformance/exchange.ts'
import { junit } from '../conformance/report/junit.ts'
import { resultLine, summary } from '../conformance/report/lines.ts'
import { type ConformanceOptions, runConformance } from '../conformance/run.ts'
import { TargetError } from '../conformance/target.ts'
import { type Arguments, type Command, UsageError } from './command.ts'
import { connectionHelp, connectionOptions, connectionTo, textOf } from './connection.ts'

/** `osb conformance URL`: tries out what the specification demands of a broker; exits 1 when a MUST failed. */
export const conformanceCommand: Command = {
  summary: 'check a broker, ours or any other, against the specification',
  synopsis: 'URL [options]',
  help: [
    '  URL                  of the broker, without /v2; default: OSB_URL',
    connectionHelp,
    '  --service NAME       the offering to try, by name or id; default: the first with a bindable plan',
    '  --plan NAME          the plan to try, by name or id; default: the first bindable one',
    '  --parameters TEXT    JSON or YAML, sent with each provision; default: made by the schema where some are required',
    '  --api-version TEXT   sent as X-Broker-API-Version; default: 2.17',
    '  --poll-timeout SECS  how long one operation may take; default: 600',
    '  --only ID            this check alone, provision/ for all that begin so; may be repeated',
    '  --json               a JSON object for each check, on a line of its own',
    '  --junit              JUnit XML',
    '',
    '  Makes instances and bindings of the plan and removes them again. Exits 1 when a MUST failed.'
  ].join('\n'),
  words: { min: 0, max: 1 },
  options: {
    ...connectionOptions,
    service: { type: 'string' },
    plan: { type: 'string' },
    parameters: { type: 'string' },
    'api-version': { type: 'string' },
    'poll-timeout': { type: 'string' },
    only: { type: 'string', multiple: true },
    json: { type: 'boolean' },
    junit: { type: 'boolean' }
  },
  run: checkBroker
}

async function checkBroker(given: Arguments): Promise<void> {
  const options = optionsOf(given)
  const { json, junit: xml } = given.values
  if (json === true && xml === true) throw new UsageError('Give --json or --junit, not both.')
  const live = json === true || xml === true ? process.stderr : process.stdout
  const show = (result: Result) => {
    if (json === true) process.stdout.write(`${JSON.stringify(result)}\n`)
    else live.write(resultLine(result))
  }
  try {
    const { results, conforms } = await runConformance(options, show)
    if (xml === true) process.stdout.write(junit(results))
    live.write(summary(results))
    if (!conforms) process.exitCode = 1
  } catch (error) {
    throw error instanceof TargetError ? new UsageError(error.message, { cause: error }) : error
  }
}

function optionsOf({ words, values }: Arguments): ConformanceOptions {
  const address = words[0] ?? (process.env.OSB_URL || undefined)
  if (address === undefined) throw new UsageError('Name the URL of a broker: osb conformance URL, or OSB_URL.')
  const { only } = values
  return {
    ...connectionTo(address, values),
    service: textOf(values, 'service'),
    plan: textOf(values, 'plan'),
    apiVersion: textOf(values, 'api-version'),
    parameters: parametersOf(textOf(values, 'parameters')),
    pollTimeoutMs: secondsOf(textOf(values, 'poll-timeout')),
    only: Array.isArray(only) ? only.map(String) : undefined
  }
}

function parametersOf(text: string | undefined) {
  if (text === undefined) return undefined
  const value: unknown = parse(text)
  if (!isObject(value)) throw new UsageError(`--parameters must be an object in JSON or YAML, not ${text}.`)
  return value
}

function secondsOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const seconds = Number(text)
  if (!(seconds > 0)) throw new UsageError(`--poll-timeout is a number of seconds above 0, not ${text}.`)
  return seconds * 1000
}
