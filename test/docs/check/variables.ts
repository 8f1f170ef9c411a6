import type { Block, Fault, Page } from './page.ts'

/** Variables of ours, wherever they stand: in text, in tables, in blocks. */
const VARIABLE = /\b(?:BROKER|POSTGRESQL|OSB)_[A-Z][A-Z0-9_]*\b|\bDATABASE_URL\b|\bLOG_LEVEL\b/g

/**
 * Environment variables that nothing reads.
 * @param known those of the configuration's schema, and those of the command line
 */
export function variableFaults(pages: readonly Page[], known: ReadonlySet<string>): Fault[] {
  return pages.flatMap((page) =>
    linesOf(page).flatMap(([line, text]) =>
      [...text.matchAll(VARIABLE)]
        .filter(([name]) => !known.has(name))
        .map(([name]) => ({ page: page.path, line, message: `nothing reads the variable ${name}` }))
    )
  )
}

function linesOf({ prose, blocks }: Page): (readonly [number, string])[] {
  return [...prose, ...blocks.flatMap(numbered)]
}

function numbered({ line, text }: Block): [number, string][] {
  return text.split('\n').map((content, index) => [line + index, content])
}
