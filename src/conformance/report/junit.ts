import type { Result } from '../check.ts'

/** The results as JUnit XML, a test suite for each section. A SHOULD that failed is told in `system-out`: it fails no build. */
export function junit(results: readonly Result[]): string {
  const sections = [...new Set(results.map(({ section }) => section))]
  const suites = sections.map((section) =>
    suite(
      section,
      results.filter((result) => result.section === section)
    )
  )
  return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites name="osb conformance">\n${suites.join('')}</testsuites>\n`
}

function suite(name: string, results: readonly Result[]): string {
  const failures = results.filter(failsBuild).length
  const skipped = results.filter(({ status }) => status === 'skipped').length
  const head = `tests="${results.length}" failures="${failures}" skipped="${skipped}" time="${seconds(results)}"`
  return `  <testsuite name="${escaped(name)}" ${head}>\n${results.map(testcase).join('')}  </testsuite>\n`
}

function testcase(result: Result): string {
  const { id, section, level, rule, status, detail } = result
  const head = `    <testcase name="${escaped(id)}" classname="${escaped(section)}" time="${seconds([result])}"`
  if (status === 'passed') return `${head}/>\n`
  const message = escaped(`${level}: ${rule}`)
  const inner = failsBuild(result)
    ? `<failure message="${message}">${escaped(detail)}</failure>`
    : status === 'skipped'
      ? `<skipped message="${escaped(detail)}"/>`
      : `<system-out>${message}\n${escaped(detail)}</system-out>`
  return `${head}>${inner}</testcase>\n`
}

function failsBuild({ status, level }: Result): boolean {
  return status === 'failed' && level === 'MUST'
}

function seconds(results: readonly Result[]): string {
  return (results.reduce((sum, { durationMs }) => sum + durationMs, 0) / 1000).toFixed(3)
}

/** XML 1.0 has no way to write most control characters: they are replaced. */
function escaped(text: string): string {
  const marks: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' }
  return text
    .toWellFormed()
    .replace(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, '\uFFFD')
    .replace(/[&<>"]/g, (mark) => marks[mark] ?? mark)
}
