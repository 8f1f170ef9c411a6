import type { JsonObject } from '../../../schemas/common.ts'
import type { Inventory } from '../../core/provider.ts'
import { instanceNames, loginName, NAME_PATTERNS, readBindingState, readInstanceState } from './names.ts'
import { DEFAULT_SERVER } from './options.ts'
import type { AdminServer } from './server.ts'
import type { Servers } from './servers.ts'

/**
 * Everything on the servers that the provider has made, or that stands in the way of its removal. Names on another server than
 * that called `default` have the server's name before them.
 */
export function inventoryOf(servers: Servers): Inventory {
  const list = async () => {
    const lists = await Promise.all([...servers.all()].map(listNames))
    return lists.flat()
  }
  return { list, namesOf }
}

/** A database of an instance: its name, and whose it is. */
export function resourceName(kind: 'database' | 'role', name: string, server = DEFAULT_SERVER): string {
  return server === DEFAULT_SERVER ? `${kind} ${name}` : `${server}: ${kind} ${name}`
}

function namesOf(kind: 'instance' | 'binding', state: JsonObject): string[] {
  if (kind === 'binding') {
    const binding = readBindingState(state)
    return binding === undefined ? [] : [resourceName('role', loginName(binding), binding.server)]
  }
  const instance = readInstanceState(state)
  if (instance === undefined) return []
  const { database, owner, reader } = instanceNames(instance)
  const { server } = instance
  return [
    resourceName('database', database, server),
    ...[owner, reader].map((role) => resourceName('role', role, server))
  ]
}

async function listNames(server: AdminServer): Promise<string[]> {
  const { superuser } = await server.ready()
  const rows = await server.read<{ name: string }>(
    `SELECT 'database ' || datname AS name FROM pg_database WHERE datname ~ $1
     UNION ALL
     SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ $2
     UNION ALL
     -- None of a tenant's making: both keep a database from being dropped
     SELECT 'replication slot ' || slot_name || ' of database ' || database FROM pg_replication_slots WHERE database ~ $1
     UNION ALL
     SELECT 'prepared transaction ' || quote_literal(gid) || ' of database ' || database FROM pg_prepared_xacts
     WHERE database ~ $1 AND prepared < now() - interval '1 hour'`,
    [NAME_PATTERNS.database, NAME_PATTERNS.role]
  )
  const names = [...rows.map(({ name }) => name), ...(superuser ? await strayDirectories(server) : [])]
  return server.name === DEFAULT_SERVER ? names : names.map((name) => `${server.name}: ${name}`)
}

/** A crash within CREATE DATABASE leaves its files and no row of it. Only a superuser may look. */
async function strayDirectories(server: AdminServer): Promise<string[]> {
  const rows = await server.read<{ name: string }>(
    `SELECT 'directory base/' || name AS name
     FROM pg_ls_dir('base') AS entries (name)
     WHERE name ~ '^[0-9]+$' AND name NOT IN (SELECT oid::text FROM pg_database)`
  )
  return rows.map(({ name }) => name)
}
