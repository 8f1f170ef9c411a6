import type pg from 'pg'

/** The password of a configuration. node-postgres makes it non-enumerable, so that `...` does not copy it. */
export function passwordOf({ password }: pg.ClientConfig): Pick<pg.ClientConfig, 'password'> {
  return password === undefined ? {} : { password }
}
