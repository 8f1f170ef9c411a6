import { ConfigError } from '../config.ts'
import { ConnectionRefused } from '../postgres/refusal.ts'

/**
 * A `ConfigError` that names the environment variable, for an error of a database server that refused the broker: parts of the
 * broker know only the options that an application embeds it with. Any other error as it is.
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
