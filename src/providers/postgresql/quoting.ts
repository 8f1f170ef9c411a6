import { escapeIdentifier, escapeLiteral } from 'pg'

/** NAMEDATALEN - 1: a longer name would be cut silently and could become another's. */
const MAX_IDENTIFIER_BYTES = 63

/** A name as it may stand in a statement. The only way a name gets into one, beside `format('%I')` on the server. */
export function quoteIdentifier(name: string): string {
  if (name === '' || name.includes('\0') || Buffer.byteLength(name) > MAX_IDENTIFIER_BYTES) {
    throw new Error('Not a name that PostgreSQL takes as it stands.')
  }
  return escapeIdentifier(name)
}

/** A value as it may stand in DDL, which takes no parameters; everywhere else use `$1`. */
export function quoteLiteral(value: string): string {
  if (value.includes('\0')) throw new Error('PostgreSQL takes no NUL in a string.')
  return escapeLiteral(value)
}
