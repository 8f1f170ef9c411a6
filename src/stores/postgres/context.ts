import type { Pool } from 'pg'
import type { Tables } from './schema.ts'
import type { Sealer } from './sealing.ts'

/** What every statement of the store needs. */
export interface StoreContext {
  readonly pool: Pool
  readonly tables: Tables
  readonly sealer: Sealer
  readonly leaseMs: number
}
