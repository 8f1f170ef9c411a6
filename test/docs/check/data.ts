import { parseAllDocuments } from 'yaml'
import { lintCatalog } from '../../../src/core/catalog/index.ts'
import { exampleProvider } from '../../../src/providers/example.ts'
import { planOptionsSource, postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import type { Block, Fault } from './page.ts'

/** YAML and JSON that cannot be parsed. */
export function parseFaults({ page, line, language, text }: Block): Fault[] {
  if (language === 'json') {
    try {
      JSON.parse(text)
      return []
    } catch (error) {
      return [{ page, line, message: `it is no JSON: ${error instanceof Error ? error.message : String(error)}` }]
    }
  }
  return parseAllDocuments(text).flatMap(({ errors }) =>
    errors.map(({ message, linePos }) => ({ page, line: line + (linePos?.[0].line ?? 1) - 1, message }))
  )
}

/** What `osb lint` calls an error. */
export function catalogFaults({ page, line, language, text }: Block): Fault[] {
  const postgresql = { ...postgresqlProvider({ adminUrl: 'postgresql://not-asked' }), options: planOptionsSource() }
  const providers = [exampleProvider(), postgresql]
  const { findings } = lintCatalog(text, { providers, isJson: language === 'json' })
  return findings
    .filter(({ level }) => level === 'error')
    .map((finding) => ({ page, line: line + (finding.line ?? 1) - 1, message: `${finding.path} ${finding.message}` }))
}
