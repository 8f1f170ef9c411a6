import { ConfigError } from '../config.ts'
import { ConnectionRefused } from '../postgres/refusal.ts'

/**
 * Turns a `ConnectionRefused`, which names the option of an embedding application, into a `ConfigError` that names the environment
 * variable. Returns any other error unchanged.
 */
export function inWordsOfVariables(error: unknown): unknown {
  if (!(error instanceof ConnectionRefused)) return error
  return new ConfigError(`${variableOf(error.setting)}: ${error.reason}.`, { cause: error })
}

function variableOf(setting: string): string {
  if (setting.startsWith('store.')) return 'DATABASE_URL'
  const server = /^postgresql\.servers\.(.+)\.adminUrl$/.exec(setting)?.[1]
  return server === undefined ? 'POSTGRESQL_ADMIN_URL' : `POSTGRESQL_SERVERS_FILE: servers.${server}.admin_url`
}
