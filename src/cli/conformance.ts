import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { httpTransport } from '../client/transport.ts'
import { ConfigError } from '../config.ts'
import type { Result } from '../conformance/check.ts'
import { isObject } from '../conformance/exchange.ts'
import { junit } from '../conformance/report/junit.ts'
import { resultLine, summary } from '../conformance/report/lines.ts'
import { type ConformanceOptions, runConformance } from '../conformance/run.ts'
import { TargetError } from '../conformance/target.ts'
import { type Arguments, type Command, UsageError } from './command.ts'

/** `osb conformance URL`: tries out what the specification demands of a broker; exits 1 when a MUST failed. */
export const conformanceCommand: Command = {
  summary: 'check a broker, ours or any other, against the specification',
  synopsis: 'URL [options]',
  help: [
    '  URL              of the broker, without /v2; default: OSB_URL',
    '  --username NAME  default: OSB_USERNAME, or that in the URL',
    '  --password TEXT  default: OSB_PASSWORD, or that in the URL',
    '  --service NAME   the offering to try, by name or id; default: the first with a bindable plan',
    '  --plan NAME      the plan to try, by name or id; default: the first bindable one',
    '  --parameters P   JSON or YAML, sent with each provision; default: generated where the plan needs some',
    '  --api-version V  sent as X-Broker-API-Version; default: 2.17',
    '  --ca FILE        PEM of the authorities to trust',
    '  --poll-timeout S seconds that one operation may take; default: 600',
    '  --json           print one JSON object a check instead of lines',
    '  --junit          print JUnit XML instead of lines',
    '',
    'Makes instances and bindings of the plan and removes them again. Exits 1 when a MUST failed.'
  ].join('\n'),
  words: { min: 0, max: 1 },
  options: {
    username: { type: 'string' },
    password: { type: 'string' },
    service: { type: 'string' },
    plan: { type: 'string' },
    parameters: { type: 'string' },
    'api-version': { type: 'string' },
    ca: { type: 'string' },
    'poll-timeout': { type: 'string' },
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
  const text = (name: string) => (typeof values[name] === 'string' && values[name] !== '' ? values[name] : undefined)
  const address = words[0] ?? (process.env.OSB_URL || undefined)
  if (address === undefined) throw new UsageError('Name the URL of a broker: osb conformance URL, or OSB_URL.')
  if (!URL.canParse(address)) throw new UsageError(`The URL of a broker is like http://127.0.0.1:8080, not ${address}.`)
  const url = new URL(address)
  const username = text('username') ?? (decodeURIComponent(url.username) || process.env.OSB_USERNAME || undefined)
  const password = text('password') ?? (decodeURIComponent(url.password) || process.env.OSB_PASSWORD || undefined)
  const ca = text('ca')
  return {
    transport: httpTransport({ url: url.origin + url.pathname, ...(ca === undefined ? {} : { ca: fileText(ca) }) }),
    username,
    password,
    service: text('service'),
    plan: text('plan'),
    apiVersion: text('api-version'),
    parameters: parametersOf(text('parameters')),
    pollTimeoutMs: secondsOf(text('poll-timeout'))
  }
}

function fileText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new ConfigError(`--ca ${path} cannot be read: ${String(error)}`, { cause: error })
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
