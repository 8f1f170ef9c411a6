import { randomBytes } from 'node:crypto'
import { mkdir, open, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What embedded storage generates at its first start and keeps beside its data. */
export interface KeptSecrets {
  /** `username:password`, as curl takes it. */
  readonly credentials: string
  /** File of the credentials, mode 0600. */
  readonly credentialsFile: string
  /** `kid:base64` */
  readonly encryptionKeys: string
  /** Whether the credentials were made just now. */
  readonly fresh: boolean
}

/** Reads the secrets in the data directory, making those that are missing. */
export async function keptSecrets(dataDir: string): Promise<KeptSecrets> {
  // Others may pass through: under root the embedded server runs as another user. What is in here is 0600.
  await mkdir(dataDir, { recursive: true, mode: 0o711 })
  const credentialsFile = join(dataDir, 'credentials')
  const credentials = await readOrMake(credentialsFile, () => `admin:${randomBytes(24).toString('base64url')}`)
  const keys = await readOrMake(join(dataDir, 'encryption-keys'), () => `k1:${randomBytes(32).toString('base64')}`)
  return { credentials: credentials.text, credentialsFile, encryptionKeys: keys.text, fresh: credentials.made }
}

async function readOrMake(path: string, make: () => string): Promise<{ text: string; made: boolean }> {
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
