export type { CatalogChange, ChangeKind, ChangeSeverity } from './change.ts'
export { compareCatalogs, comparesExtensions } from './compare.ts'
