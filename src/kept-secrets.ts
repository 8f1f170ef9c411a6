import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Credentials that embedded storage generates at its first start and keeps beside its data. */
export interface KeptCredentials {
  /** `username:password`, as curl takes it. */
  readonly credentials: string
  /** File of the credentials, mode 0600. */
  readonly credentialsFile: string
  /** Whether they were made just now. */
  readonly fresh: boolean
}

/** Reads the credentials in the data directory, making them when they are missing. */
export async function keptCredentials(dataDir: string): Promise<KeptCredentials> {
  const credentialsFile = join(dataDir, 'credentials')
  const { text, made } = await readOrMake(
    dataDir,
    'credentials',
    () => `admin:${randomBytes(24).toString('base64url')}`
  )
  return { credentials: text, credentialsFile, fresh: made }
}

/** Reads the encryption keys in the data directory, `kid:base64`, making one when there is none. */
export async function keptEncryptionKeys(dataDir: string): Promise<string> {
  return (await readOrMake(dataDir, 'encryption-keys', () => `k1:${randomBytes(32).toString('base64')}`)).text
}

async function readOrMake(dataDir: string, name: string, make: () => string): Promise<{ text: string; made: boolean }> {
  // Others may pass through: under root the embedded server runs as another user. What is in here is 0600.
  await mkdir(dataDir, { recursive: true, mode: 0o711 })
  const path = join(dataDir, name)
  const kept = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') throw error
    return ''
  })
  // A crash between making and writing leaves an empty file.
  if (kept.trim() !== '') return { text: kept.trim(), made: false }
  const text = make()
  const file = await open(path, 'w', 0o600)
  try {
    await file.writeFile(`${text}\n`)
    await file.sync()
  } finally {
    await file.close()
  }
  return { text, made: true }
}
