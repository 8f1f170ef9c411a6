import pg from 'pg'

/** The broker's tables, quoted and qualified: the search_path of a host's pool does not matter. */
export interface Tables {
  readonly schema: string
  readonly instances: string
  readonly bindings: string
  readonly operations: string
  readonly operationsSequence: string
  readonly auditEvents: string
  /** A function. */
  readonly forgetAuditEvents: string
  /** A function. */
  readonly makeAuditPartitions: string
  readonly resourceCounts: string
  readonly resourceCountChanges: string
  readonly resourceCountsFolded: string
  /** A function. */
  readonly foldResourceCounts: string
  readonly migrations: string
  /** Function: the kid of a sealed text. */
  readonly sealedKid: string
  /** Of the halts; the brokers of one database have one each. */
  readonly haltChannel: string
}

export const DEFAULT_SCHEMA = 'osb'

/** Room is left for the suffix of the channel: PostgreSQL cuts identifiers after 63 bytes. */
const SCHEMA = /^[a-z_][a-z0-9_]{0,49}$/

/** @throws {Error} when the name is not a plain lower-case identifier */
export function tablesOf(schema: string = DEFAULT_SCHEMA): Tables {
  if (!SCHEMA.test(schema) || schema.startsWith('pg_')) {
    throw new Error(`The schema "${schema}" must be a lower-case identifier of at most 50 characters, not of pg_.`)
  }
  const quoted = pg.escapeIdentifier(schema)
  return {
    schema,
    instances: `${quoted}.service_instances`,
    bindings: `${quoted}.service_bindings`,
    operations: `${quoted}.operations`,
    operationsSequence: `${quoted}.operations_seq_seq`,
    auditEvents: `${quoted}.audit_events`,
    forgetAuditEvents: `${quoted}.forget_audit_events`,
    makeAuditPartitions: `${quoted}.make_audit_partitions`,
    resourceCounts: `${quoted}.resource_counts`,
    resourceCountChanges: `${quoted}.resource_count_changes`,
    resourceCountsFolded: `${quoted}.resource_counts_folded`,
    foldResourceCounts: `${quoted}.fold_resource_counts`,
    migrations: `${quoted}.schema_migrations`,
    sealedKid: `${quoted}.sealed_kid`,
    haltChannel: `${schema}_halt`
  }
}
