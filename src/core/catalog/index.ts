export { checkCatalog } from './check.ts'
export {
  type CatalogChange,
  type ChangeKind,
  type ChangeSeverity,
  compareCatalogs,
  comparesExtensions
} from './compare/index.ts'
export type { CatalogPlan } from './entries.ts'
export { CatalogError, type CatalogReport, type Fault, type Place } from './faults.ts'
export { type CatalogLint, type LintFinding, lintCatalog } from './lint.ts'
export { type LoadedCatalog, type LoadOptions, loadCatalog, type PlanReference } from './load.ts'
export type { ParametersCheck } from './parameters.ts'
export type { CatalogPart } from './part.ts'
export type { ProviderChoice } from './provider-rules.ts'
export { type CatalogFile, decodeCatalog, readCatalogFile, readCatalogText } from './read.ts'
