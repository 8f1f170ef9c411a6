import type pg from 'pg'

/** The password of a configuration: node-postgres keeps it from being copied by `...`. */
export function passwordOf({ password }: pg.ClientConfig): Pick<pg.ClientConfig, 'password'> {
  return password === undefined ? {} : { password }
}
