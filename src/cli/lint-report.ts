import type { CatalogChange, ChangeSeverity, LintFinding } from '../core/catalog/index.ts'

type Level = LintFinding['level']

/** One line of the report. */
export interface ReportLine {
  /** `error`, `warning` and `info`; of a change how much it matters. */
  word: Level | ChangeSeverity
  level: Level
  file: string
  line?: number
  column?: number
  path: string
  /** Sentences. */
  message: string
  /** Said of it in JSON alone. */
  details?: object
}

const LEVELS: Record<ChangeSeverity, Level> = { breaks: 'error', changes: 'warning', adds: 'info' }

const NOUNS = [
  ['breaks', 'break'],
  ['changes', 'change'],
  ['adds', 'addition']
] as const

/** A finding of the check. */
export function fromFinding(file: string, { level, path, message, line, column, section }: LintFinding): ReportLine {
  const place = line === undefined || column === undefined ? {} : { line, column }
  return { word: level, level, file, ...place, path, message, details: { section } }
}

/** A difference from the catalog before. */
export function fromChange(place: Pick<ReportLine, 'file' | 'line' | 'column'>, change: CatalogChange): ReportLine {
  const { severity, kind, path, message, consequence, serviceId, planId } = change
  const details = { change: severity, kind, consequence, service_id: serviceId, plan_id: planId }
  return { word: severity, level: LEVELS[severity], ...place, path, message, details }
}

/** Prints findings as they come, to standard output, and what they amount to, to standard error. */
export class LintReport {
  readonly #file: string
  readonly #json: boolean
  readonly #counts = new Map<ReportLine['word'], number>()

  constructor(file: string, json: boolean) {
    this.#file = file
    this.#json = json
  }

  add(line: ReportLine): void {
    this.#counts.set(line.word, this.#count(line.word) + 1)
    process.stdout.write(`${this.#json ? asJson(line) : asText(line)}\n`)
  }

  /** @param strict whether a warning is one too many */
  fails(strict: boolean): boolean {
    const fatal = strict ? (['error', 'breaks', 'warning', 'changes'] as const) : (['error', 'breaks'] as const)
    return fatal.some((word) => this.#count(word) > 0)
  }

  conclude(): void {
    const counts = [counted(this.#count('error'), 'error'), counted(this.#count('warning'), 'warning')]
    for (const [severity, noun] of NOUNS) {
      if (this.#count(severity) > 0) counts.push(counted(this.#count(severity), noun))
    }
    process.stderr.write(`${this.#file}: ${counts.join(', ')}\n`)
  }

  #count(word: ReportLine['word']): number {
    return this.#counts.get(word) ?? 0
  }
}

/** The form that editors and terminals make a link of: `FILE:LINE:COLUMN: …`. */
function asText({ word, file, line, column, path, message, details }: ReportLine): string {
  const place = line === undefined ? file : `${file}:${line}:${column}`
  const consequence = details !== undefined && 'consequence' in details ? `. ${details.consequence}.` : ''
  const section = details !== undefined && 'section' in details ? ` (${details.section})` : ''
  return `${place}: ${word}: ${path} ${message}${consequence}${section}`
}

function asJson({ word: _word, details, ...line }: ReportLine): string {
  return JSON.stringify({ ...line, ...details })
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
