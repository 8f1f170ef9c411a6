import { buffer } from 'node:stream/consumers'
import {
  type CatalogLint,
  compareCatalogs,
  comparesExtensions,
  decodeCatalog,
  lintCatalog,
  readCatalogText
} from '../core/catalog/index.ts'
import { exampleProvider } from '../providers/example.ts'
import { planOptionsSource, postgresqlProvider } from '../providers/postgresql/index.ts'
import { type Arguments, type Command, UsageError } from './command.ts'
import { connectionHelp, connectionOptions, withoutCredentials } from './connection.ts'
import { fromChange, fromFinding, LintReport } from './lint-report.ts'
import { isUrl, readServedCatalog } from './served-catalog.ts'

/** `osb lint FILE`: checks catalogs without being the broker. Exits 1 when there are errors, or changes that break. */
export const lintCommand: Command = {
  summary: 'check a catalog, and what it would break for instances that live',
  synopsis: 'FILE... [options]',
  help: [
    '  FILE is JSON or YAML: a catalog of this broker, or what any broker serves at /v2/catalog; - is standard input.',
    '  The built-in providers check the options of their plans. What could not be checked is said.',
    '',
    '  --against URL|FILE   the catalog that is served now: what would FILE break that takes its place?',
    connectionHelp,
    '  --strict             exit 1 on warnings and changes too',
    '  --json               a JSON object for each finding, on a line of its own',
    '',
    '  Where OSB_URL is set: osb lint FILE --against "$OSB_URL"'
  ].join('\n'),
  options: {
    ...connectionOptions,
    against: { type: 'string' },
    strict: { type: 'boolean' },
    json: { type: 'boolean' }
  },
  words: { min: 1, max: Number.POSITIVE_INFINITY },
  run: lint
}

async function lint({ words, values }: Arguments): Promise<void> {
  const { against } = values
  if (typeof against === 'string' && words.length > 1) throw new UsageError('--against compares one FILE.')
  for (const file of words) {
    const report = new LintReport(file, values.json === true)
    const linted = await lintSource(file)
    for (const finding of linted.findings) report.add(fromFinding(file, finding))
    if (typeof against === 'string') await compare({ file, linted, against, report }, values)
    report.conclude()
    if (report.fails(values.strict === true)) process.exitCode = 1
  }
}

interface Comparison {
  file: string
  linted: CatalogLint
  against: string
  report: LintReport
}

async function compare({ file, linted, against, report }: Comparison, values: Arguments['values']): Promise<void> {
  const note = (message: string) =>
    report.add({ word: 'info', level: 'info', file, path: '(catalog)', message: `${message}.` })
  if (linted.catalog === undefined) return note('was not compared: it has errors')
  const before = isUrl(against)
    ? lintCatalog(await readServedCatalog(against, values), { providers: [], isJson: true })
    : await lintSource(against)
  const source = isUrl(against) ? withoutCredentials(against) : against
  if (before.catalog === undefined) {
    const { path = '', message = '' } = before.findings.find(({ level }) => level === 'error') ?? {}
    throw new UsageError(`The catalog of ${source} cannot be compared, for it has errors: ${path} ${message}`)
  }
  for (const change of compareCatalogs(before.catalog, linted.catalog)) {
    const place = change.side === 'after' ? { file, ...linted.positionOf(change.at) } : { file: source }
    const line = isUrl(against) || change.side === 'after' ? place : { ...place, ...before.positionOf(change.at) }
    report.add(fromChange(line, change))
  }
  if (comparesExtensions(before.catalog, linted.catalog)) return
  note('x-broker was not compared, for it is not served: provider, mode, requires_app, endpoints, options')
}

async function lintSource(file: string): Promise<CatalogLint> {
  const { text, isJson } =
    file === '-'
      ? { text: decodeCatalog(await buffer(process.stdin), 'standard input'), isJson: false }
      : await readCatalogText(file)
  const { BROKER_DEFAULT_PROVIDER } = process.env
  return lintCatalog(text, {
    isJson,
    providers: [exampleProvider(), { ...postgresqlProvider({ adminUrl: neverAsked }), options: planOptionsSource() }],
    ...(BROKER_DEFAULT_PROVIDER === undefined || BROKER_DEFAULT_PROVIDER === ''
      ? {}
      : { defaultProvider: BROKER_DEFAULT_PROVIDER })
  })
}

/** Only the schema of the provider's options is used. */
function neverAsked(): string {
  throw new Error('a check of a catalog needs no server')
}
