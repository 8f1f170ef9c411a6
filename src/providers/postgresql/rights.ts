import type { Place } from './instances.ts'
import { quoteIdentifier, quoteLiteral } from './quoting.ts'

/** Lets a login act as the owner; its sessions do so from the start. */
export async function giveOwner({ maintenance, names }: Place, login: string): Promise<void> {
  const usr = quoteIdentifier(login)
  await maintenance.query(`GRANT ${quoteIdentifier(names.owner)} TO ${usr}`)
  await maintenance.query(
    `ALTER ROLE ${usr} IN DATABASE ${quoteIdentifier(names.database)} SET role TO ${quoteLiteral(names.owner)}`
  )
}

/** Lets a login read what the owner has; its sessions begin read-only. */
export async function giveReader({ maintenance, names }: Place, login: string): Promise<void> {
  const usr = quoteIdentifier(login)
  await maintenance.query(`GRANT ${quoteIdentifier(names.reader)} TO ${usr}`)
  await maintenance.query(
    `ALTER ROLE ${usr} IN DATABASE ${quoteIdentifier(names.database)} SET default_transaction_read_only = on`
  )
}

/** Turns a login of the owner's into one that reads, for as long as the storage is used up. */
export async function swapToReader({ maintenance, names }: Place, login: string): Promise<void> {
  const usr = quoteIdentifier(login)
  await maintenance.query(`GRANT ${quoteIdentifier(names.reader)} TO ${usr}`)
  // Before the setting, whose row the tenant can lock; a session that may not take the role starts without it
  await maintenance.query(`REVOKE ${quoteIdentifier(names.owner)} FROM ${usr}`)
  await maintenance.query(`ALTER ROLE ${usr} IN DATABASE ${quoteIdentifier(names.database)} RESET role`)
}

/** The way back. */
export async function swapToOwner(place: Place, login: string): Promise<void> {
  const { maintenance, names } = place
  await giveOwner(place, login)
  await maintenance.query(`REVOKE ${quoteIdentifier(names.reader)} FROM ${quoteIdentifier(login)}`)
}
