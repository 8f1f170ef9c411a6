import { chooseServerAccount } from '../../src/embedded-postgres/server-account.ts'

/** Prints the account of a new cluster, and what is logged about it. */
const log: string[] = []
const account = await chooseServerAccount(undefined, (line) => log.push(line))
console.log(JSON.stringify({ account, log }))
