import type { Comparison, Seen } from './comparison.ts'
import type { Replica } from './replicas.ts'

/** Level of pino's `error`. */
const ERROR = 50

/** Errors that the faults of a run explain. Any other message at this level is a difference. */
const EXPECTED = [
  /^the store cannot be reached; requests are answered 503 until it can$/,
  /^the provider "scripted" ignored the abort of a \w+: its call was given up$/,
  // Answers 503 and 504.
  /^The broker cannot reach its database\.$/,
  /^The database of the broker is too busy\.$/,
  /^The work did not end within 8 s\. It is being undone\.$/,
  /^The broker is starting\.$/,
  /^The broker could not answer in time\. Repeat the request\.$/,
  /^The broker is not ready to take operations yet\.$/,
  /^The broker stopped while it worked on this\.$/,
  /^An earlier attempt is still being undone\.$/
]

interface Line {
  readonly level?: number
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
    for (const text of await replica.lines()) {
      const line = parse(text)
      if ((line.level ?? 0) < ERROR) continue
      const message = line.msg ?? ''
      const known = errors.get(message)
      errors.set(message, { count: (known?.count ?? 0) + 1, first: known?.first ?? text })
    }
  }
  for (const [message, { count, first }] of errors) {
    if (!EXPECTED.some((pattern) => pattern.test(message)))
      differences.push(`${count} times at level error: ${message}: ${first.slice(0, 1_500)}`)
  }
  return {
    differences,
    counts: Object.fromEntries([...errors].map(([message, { count }]) => [`logged at error: ${message}`, count]))
  }
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
