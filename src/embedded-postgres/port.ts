import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { readTextFile } from './data-directory.ts'
import { EmbeddedPostgresError, errnoOf } from './errors.ts'

export const host = '127.0.0.1'

// Below the range from which systems take ports for outgoing connections (32768 on Linux): one of those could sit on
// the remembered port at the next start.
const [first, last] = [20_000, 29_999]

export const portFile = (dataDir: string) => join(dataDir, 'port')

/** The port used last time, so that the URIs handed out stay valid. */
export async function rememberedPort(dataDir: string): Promise<number | undefined> {
  const port = Number(await readTextFile(portFile(dataDir)))
  return Number.isInteger(port) && port > 0 && port < 65_536 ? port : undefined
}

export async function chooseFreePort(): Promise<number> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const port = randomInt(first, last + 1)
    if (await isFree(port)) return port
  }
  throw new EmbeddedPostgresError('port-taken', `Found no free port between ${first} and ${last}: set one yourself.`)
}

/** @throws EmbeddedPostgresError `port-taken` */
export async function requireFreePort(port: number, dataDir: string): Promise<void> {
  if (await isFree(port)) return
  const message =
    `Another program listens on ${host}:${port}, the port of the embedded PostgreSQL: stop that program, or delete ` +
    `${portFile(dataDir)} to have a new port chosen (connection URIs handed out so far then no longer work).`
  throw new EmbeddedPostgresError('port-taken', message)
}

async function isFree(port: number): Promise<boolean> {
  return await new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (error) => (errnoOf(error) === 'EADDRINUSE' ? resolve(false) : reject(error)))
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(true)))
  })
}
