import { LineCounter, parseDocument, visit } from 'yaml'
import { findJsonFault } from './json-scan.ts'

/** What a text says, or the first thing wrong with its syntax, and where if that is one place. */
export type Parsed = { value: unknown } | Problem

/** Lines and columns count from 1. */
export interface Problem {
  problem: string
  line?: number
  column?: number
}

/** More than a catalog shares; far fewer than an alias bomb or a slow one needs. */
const MAX_ALIASES = 1_000

const TOO_DEEP = 'it is nested too deeply'

/**
 * Reads JSON or YAML 1.2 (core schema): by content, since JSON is what starts with a brace and parses. Duplicate keys
 * are errors in both: the second would win in silence.
 */
export function parseCatalogText(text: string, isJson: boolean): Parsed {
  if (text.trim() === '') return { problem: 'the file is empty' }
  const json = isJson || /^\s*[{[]/.test(text) ? parseJson(text) : undefined
  // Without the extension, what is no JSON may still be YAML in its flow style; a duplicate key is one in both.
  return json === undefined || (!isJson && 'problem' in json) ? parseYaml(text) : json
}

function parseJson(text: string): Parsed {
  const fault = findJsonFault(text)
  if (fault === undefined) return { value: JSON.parse(text) }
  const before = text.slice(0, fault.index)
  const column = fault.index - before.lastIndexOf('\n')
  return { problem: fault.reason, line: before.split('\n').length, column }
}

function parseYaml(text: string): Parsed {
  const lineCounter = new LineCounter()
  try {
    const document = parseDocument(text, {
      version: '1.2',
      schema: 'core',
      // An explicit `!!timestamp` or `!!set` would otherwise become an object that JSON does not know.
      resolveKnownTags: false,
      stringKeys: true,
      merge: false,
      uniqueKeys: true,
      prettyErrors: false,
      logLevel: 'error',
      lineCounter
    })
    const [problem] = [...document.errors, ...document.warnings]
    if (problem !== undefined) {
      const { line, col } = lineCounter.linePos(problem.pos[0])
      // The parser turns an overflow of its stack into a fault of the document.
      const reason = /call stack/.test(problem.message) ? TOO_DEEP : firstLine(problem)
      return { problem: reason, line, column: col }
    }
    let aliases = 0
    visit(document, { Alias: () => (++aliases > MAX_ALIASES ? visit.BREAK : undefined) })
    if (aliases > MAX_ALIASES) return { problem: `more than ${MAX_ALIASES} aliases` }
    const value: unknown = document.toJS({ maxAliasCount: MAX_ALIASES })
    return value === null ? { problem: 'the file is empty' } : { value }
  } catch (error) {
    // An alias bomb, an unknown anchor, or nesting beyond the stack: the parser throws only for these.
    return { problem: error instanceof RangeError ? TOO_DEEP : firstLine(error) }
  }
}

function firstLine(error: unknown): string {
  return String(error instanceof Error ? error.message : error).split('\n', 1)[0] ?? ''
}
