import type { CatalogSource } from '../../schemas/catalog.ts'
import { CatalogError, type LoadedCatalog, type LoadOptions, loadCatalog } from './catalog/index.ts'
import type { Store } from './store.ts'

/** What a catalog is loaded with; known once the broker is put together. */
export interface CatalogSetting extends LoadOptions {
  readonly store: Store
}

/** A catalog that can be loaded again while the broker runs. */
export class ReloadableCatalog {
  readonly #source: string | CatalogSource
  #setting: CatalogSetting | undefined
  #current: LoadedCatalog | undefined

  /** @param source path of a JSON or YAML file, or the catalog itself */
  constructor(source: string | CatalogSource) {
    this.#source = source
  }

  /** The catalog that is served. */
  get current(): LoadedCatalog {
    if (this.#current === undefined) throw new Error('the catalog has not been loaded yet')
    return this.#current
  }

  /**
   * Loads it for the first time.
   * @throws {CatalogError} with every fault by its path
   */
  async load(setting: CatalogSetting): Promise<LoadedCatalog> {
    this.#setting = setting
    this.#current = await loadCatalog(this.#source, setting)
    return this.#current
  }

  /**
   * Loads it again. A catalog with a fault, or without a plan that instances live on, is refused and the old one stays.
   * @throws {CatalogError} saying why it was refused
   */
  async reload(): Promise<LoadedCatalog> {
    if (this.#setting === undefined) throw new Error('the catalog has not been loaded yet')
    const next = await loadCatalog(this.#source, this.#setting)
    const dropped = next.dropped(await this.#setting.store.plansInUse())
    if (dropped.length > 0) {
      const plans = dropped.map(({ planId }) => planId).join(', ')
      throw new CatalogError(`The catalog lacks plans that service instances live on: ${plans}. The old one stays.`)
    }
    this.#current = next
    return next
  }
}
