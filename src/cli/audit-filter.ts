import { type AuditFilter, auditActions, auditOutcomes } from '../stores/postgres/index.ts'
import { type Arguments, type Command, UsageError } from './command.ts'

/** Options of `osb audit` that say which events are wanted. */
export const filterOptions = {
  platform: { type: 'string' },
  instance: { type: 'string' },
  binding: { type: 'string' },
  action: { type: 'string', multiple: true },
  outcome: { type: 'string', multiple: true },
  user: { type: 'string' },
  request: { type: 'string' },
  since: { type: 'string' },
  until: { type: 'string' },
  limit: { type: 'string' }
} satisfies Command['options']

export const filterHelp = [
  '  --platform NAME   made by this platform',
  '  --instance ID     about this instance, its bindings included',
  '  --binding ID      about bindings of this id',
  `  --action WORD     ${auditActions.join(', ')}; may be repeated`,
  `  --outcome WORD    ${auditOutcomes.join(', ')}; may be repeated`,
  '  --user TEXT       a value of the originating identity has TEXT in it, in whichever case',
  '  --request ID      of the request with this X-Broker-API-Request-Identity',
  '  --since TIME      not before: 2026-01-31, 2026-01-31T12:00:00Z (in UTC where no zone is named), or 2h, 7d ago',
  '  --until TIME      before; as --since',
  '  --limit NUMBER    the newest so many; default: 100, and with --since all'
].join('\n')

const DEFAULT_LIMIT = 100

/**
 * What the options ask for.
 * @throws {UsageError} naming the option, what was given and what is allowed
 */
export function filterFrom(values: Arguments['values'], now: Date): { filter: AuditFilter; limit: number | undefined } {
  const filter = {
    platform: textOf(values, 'platform'),
    instance: textOf(values, 'instance'),
    binding: textOf(values, 'binding'),
    actions: wordsOf(values, 'action', auditActions),
    outcomes: wordsOf(values, 'outcome', auditOutcomes),
    user: textOf(values, 'user'),
    request: textOf(values, 'request'),
    since: timeOf(values, 'since', now),
    until: timeOf(values, 'until', now)
  }
  const { since, until } = filter
  if (since !== undefined && until !== undefined && since >= until) {
    throw new UsageError(`--until ${values.until} is not after --since ${values.since}: nothing is in between.`)
  }
  return { filter, limit: limitOf(values, since === undefined ? DEFAULT_LIMIT : undefined) }
}

/** An empty value is no filter: it is what a variable that was not set leaves of it. */
function textOf(values: Arguments['values'], name: string): string | undefined {
  const value = values[name]
  if (value === '') throw new UsageError(`--${name} is empty: give a value, or leave it out.`)
  return typeof value === 'string' ? value : undefined
}

function wordsOf(values: Arguments['values'], name: string, allowed: readonly string[]): string[] | undefined {
  const given = values[name]
  if (!Array.isArray(given)) return undefined
  const words = given.map(String)
  const wrong = words.find((word) => !allowed.includes(word))
  if (wrong !== undefined)
    throw new UsageError(`--${name} is ${shown(wrong)}: it must be one of ${allowed.join(', ')}.`)
  return words
}

function limitOf(values: Arguments['values'], otherwise: number | undefined): number | undefined {
  const text = textOf(values, 'limit')
  if (text === undefined) return otherwise
  const limit = Number(text)
  if (/^\d+$/.test(text) && limit >= 1 && Number.isSafeInteger(limit)) return limit
  throw new UsageError(`--limit is ${shown(text)}: it must be a whole number from 1.`)
}

const SECONDS = new Map([
  ['s', 1],
  ['m', 60],
  ['h', 3600],
  ['d', 86_400],
  ['w', 604_800]
])
const AGO = /^(\d{1,9})([smhdw])$/
const MOMENT = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)(Z|[+-]\d{2}:\d{2})?)?$/

function timeOf(values: Arguments['values'], name: string, now: Date): Date | undefined {
  const text = textOf(values, name)
  if (text === undefined) return undefined
  const time = parseTime(text, now)
  if (time !== undefined) return time
  const allowed = 'a time like 2026-01-31 or 2026-01-31T12:00:00Z, or like 30m, 2h, 7d for so long ago'
  throw new UsageError(`--${name} is ${shown(text)}: it must be ${allowed}.`)
}

/** Without a zone it is UTC, as all that is printed. */
function parseTime(text: string, now: Date): Date | undefined {
  const [, count, unit = ''] = AGO.exec(text) ?? []
  if (count !== undefined) return valid(new Date(now.getTime() - Number(count) * (SECONDS.get(unit) ?? 0) * 1000))
  const [, day, clock = '00:00', zone = 'Z'] = MOMENT.exec(text) ?? []
  if (day === undefined) return undefined
  // Dates that no calendar has, such as 30 February, are read as others.
  const midnight = valid(new Date(`${day}T00:00:00Z`))
  return midnight?.toISOString().startsWith(day) ? valid(new Date(`${day}T${clock}${zone}`)) : undefined
}

function valid(date: Date): Date | undefined {
  return Number.isNaN(date.getTime()) ? undefined : date
}

function shown(text: string): string {
  return JSON.stringify(text)
}
