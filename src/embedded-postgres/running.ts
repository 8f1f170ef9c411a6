import { join } from 'node:path'
import { urlOf } from './connection.ts'
import { readTextFile } from './data-directory.ts'
import { rememberedPort } from './port.ts'

/**
 * How to reach a database of the server that another process keeps on a data directory; undefined where there never was
 * one. Whether it runs, a connection tells.
 */
export async function urlOfKept(dataDir: string, database: string): Promise<string | undefined> {
  const port = await rememberedPort(dataDir)
  const password = await readTextFile(join(dataDir, 'password'))
  return port === undefined || password === undefined ? undefined : urlOf({ port, password }, database)
}
