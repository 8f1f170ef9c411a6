import type { RegExpEngine } from 'ajv/dist/types/index.js'
import { RE2JS } from 're2js'
import { shorten } from './faults.ts'

/** Escapes that RE2 knows and ECMA 262 does not, and named backreferences, which RE2JS takes for plain letters. */
const FOREIGN_ESCAPE = /(?<!\\)(?:\\\\)*(\\[AzZQECaek])/

/**
 * Compiles a pattern for an engine that runs in linear time. Patterns come from the catalog and their input from users:
 * with a backtracking engine `^(a+)+$` and thirty characters would stop the whole broker.
 * @throws {SyntaxError} for what cannot be matched in linear time (lookaround, backreferences), and for what is no
 * pattern at all
 */
export function compilePattern(pattern: string): { test(text: string): boolean; toString(): string } {
  const foreign = FOREIGN_ESCAPE.exec(pattern)?.[1]
  if (foreign !== undefined) throw unusable(pattern, `the escape ${foreign} is not supported`)
  try {
    const compiled = RE2JS.compile(RE2JS.translateRegExp(pattern))
    // Ajv shares compiled patterns by their `toString`.
    return { test: (text) => compiled.test(text), toString: () => pattern }
  } catch (error) {
    throw unusable(pattern, reasonOf(pattern, error))
  }
}

/** {@link compilePattern} as Ajv's option `code.regExp` wants it; `code` matters for standalone code only. */
export const linearPatterns: RegExpEngine = Object.assign((pattern: string) => compilePattern(pattern), {
  code: 'compilePattern'
})

function reasonOf(pattern: string, error: unknown): string {
  if (/\(\?(?:<?[=!])/.test(pattern)) return 'lookahead and lookbehind cannot be matched in linear time'
  if (/\\[1-9]/.test(pattern)) return 'backreferences cannot be matched in linear time'
  return error instanceof Error ? error.message : String(error)
}

function unusable(pattern: string, reason: string): SyntaxError {
  return new SyntaxError(`the pattern ${shorten(pattern, 80)} cannot be used: ${reason}`)
}
