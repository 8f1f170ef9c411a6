import type { Comparison, Seen } from './comparison.ts'
import type { Replica } from './replicas.ts'

/** Level of pino's `error`. */
const ERROR = 50

/** Errors that the faults of a run explain, in addition to requests that are answered 503 or 504. */
const EXPECTED = [
  /^the broker cannot start yet; requests are answered 503 until it can$/,
  /^the provider "scripted" ignored the abort of a \w+: its call was given up$/
]

/** Stands for the messages of requests that were answered 503 or 504. */
const AWAY = 'requests answered 503 or 504'

interface Line {
  readonly level?: number
  readonly pid?: number
  readonly reqId?: string
  readonly status?: number
  readonly msg?: string
  readonly method?: string
  readonly path?: string
  readonly err?: { readonly message?: string; readonly stack?: string }
}

/** Looks for requests without an answer, and for errors that no fault explains. */
export async function compareLogs(replicas: readonly Replica[], { platform }: Seen): Promise<Comparison> {
  const differences: string[] = []
  const errors = new Map<string, { count: number; first: string }>()
  for (const replica of replicas) {
    for (const text of await replica.unanswered()) {
      const { method, path } = parse(text)
      if (!platform.givenUp.has(`${replica.name} ${method} ${path}`))
        differences.push(`${replica.name} never answered ${text}`)
    }
    const lines = await replica.lines()
    const isAway = awayAmong(lines, replica)
    for (const text of lines) {
      const line = parse(text)
      if ((line.level ?? 0) < ERROR) continue
      const message = isAway(line) ? AWAY : (line.msg ?? '')
      const known = errors.get(message)
      errors.set(message, { count: (known?.count ?? 0) + 1, first: known?.first ?? text })
    }
  }
  for (const [message, { count, first }] of errors) {
    if (message !== AWAY && !EXPECTED.some((pattern) => pattern.test(message)))
      differences.push(`${count} times at level error: ${message}: ${first.slice(0, 1_500)}`)
  }
  return {
    differences,
    counts: Object.fromEntries([...errors].map(([message, { count }]) => [`logged at error: ${message}`, count]))
  }
}

/** Whether the request of a line was answered 503 or 504, or its process killed before it could log the answer. */
function awayAmong(lines: readonly string[], { exits }: Replica): (line: Line) => boolean {
  const killed = new Set(exits.filter((exit) => exit.killed).map(({ pid }) => pid))
  const answered = new Map<string, number>()
  for (const text of lines.filter((text) => text.includes('"msg":"request completed"'))) {
    const line = parse(text)
    const request = requestOf(line)
    if (request !== undefined && line.status !== undefined) answered.set(request, line.status)
  }
  return (line) => {
    const request = requestOf(line)
    if (request === undefined) return false
    const status = answered.get(request)
    return status === undefined ? killed.has(line.pid ?? 0) : status === 503 || status === 504
  }
}

function requestOf({ pid, reqId }: Line): string | undefined {
  return reqId === undefined ? undefined : `${pid} ${reqId}`
}

function parse(text: string): Line {
  if (!text.startsWith('{')) return {}
  try {
    const line: unknown = JSON.parse(text)
    return Object(line)
  } catch {
    // A process that was killed in the middle of a line.
    return {}
  }
}
