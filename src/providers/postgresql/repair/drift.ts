/** Something that is not as it was agreed. */
export interface Drift {
  /** The provider's name of it, as in its inventory. */
  readonly resource: string
  /** Without secrets. */
  readonly finding: string
  /** Puts it right; absent where only an operator can. */
  readonly heal?: () => Promise<void>
}

/** Attributes that none of our roles has, as PostgreSQL's catalog and its statements name them. */
export const ATTRIBUTES = [
  ['rolsuper', 'SUPERUSER'],
  ['rolcreatedb', 'CREATEDB'],
  ['rolcreaterole', 'CREATEROLE'],
  ['rolreplication', 'REPLICATION'],
  ['rolbypassrls', 'BYPASSRLS']
] as const
