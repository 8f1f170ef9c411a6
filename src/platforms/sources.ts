import { resolve } from 'node:path'
import { CatalogError, readCatalogText } from '../core/catalog/index.ts'
import { parseCatalogText } from '../core/catalog/parse.ts'
import { PlatformsError } from './mistake.ts'
import { type Platforms, platformsOfFile, platformsOfOption } from './platforms.ts'
import type { Platform } from './schema.ts'

/** Name of the platform where there is one alone, or the host authenticates. */
export const DEFAULT_PLATFORM = 'default'

/** Basic credentials of one platform. */
export interface PlatformCredentials {
  /** Name of the platform: its instances exist for it alone. */
  readonly name: string
  readonly username: string
  readonly password: string
}

/** A platform as the file of platforms has it, with its name. */
export type NamedPlatform = Platform & { readonly name: string }

/** The platforms as they are now. */
export interface PlatformsSource {
  readonly current: Platforms
}

/** Which ways in there can be at all. */
export interface FileOptions {
  /** Whether the server asks for client certificates; default true. */
  readonly clientCertificates?: boolean
}

/** A file of platforms that can be read again while the broker runs. */
export class ReloadablePlatforms implements PlatformsSource {
  readonly #file: string
  readonly #options: FileOptions
  #current: Platforms

  private constructor(file: string, options: FileOptions, current: Platforms) {
    this.#file = file
    this.#options = options
    this.#current = current
  }

  /**
   * Reads a file of platforms, YAML or JSON.
   * @throws {PlatformsError} when it cannot be read or breaks a rule, with every fault by its path
   */
  static async open(file: string, options: FileOptions = {}): Promise<ReloadablePlatforms> {
    const path = resolve(file)
    return new ReloadablePlatforms(path, options, await readPlatformsFile(path, options))
  }

  get current(): Platforms {
    return this.#current
  }

  /**
   * Reads it again. One with a fault is refused and the old one stays.
   * @throws {PlatformsError} saying why it was refused
   */
  async reload(): Promise<Platforms> {
    this.#current = await readPlatformsFile(this.#file, this.#options)
    return this.#current
  }
}

async function readPlatformsFile(file: string, { clientCertificates = true }: FileOptions): Promise<Platforms> {
  const what = `BROKER_PLATFORMS_FILE: ${file}`
  const platforms = platformsOfFile(what, await contentOf(what, file))
  const [first] = platforms.certificate
  if (clientCertificates || first === undefined) return platforms
  throw new PlatformsError(
    `${what}: the platform ${first.platform} comes in with a certificate, for which BROKER_TLS_CLIENT_CA must be set`
  )
}

async function contentOf(what: string, file: string): Promise<unknown> {
  try {
    const { text, isJson } = await readCatalogText(file, what)
    const parsed = parseCatalogText(text, isJson)
    if ('value' in parsed) return parsed.value
    const { problem, line, column } = parsed
    const place = line === undefined ? '' : ` at line ${line}, column ${column}`
    throw new PlatformsError(`${what} cannot be read: ${problem}${place}`)
  } catch (error) {
    throw error instanceof CatalogError ? new PlatformsError(error.message, { cause: error }) : error
  }
}

/**
 * Platforms that stay as they are: credentials, or whole platforms; several of one name are one.
 * @throws {PlatformsError} with every fault by its path
 */
export function fixedPlatforms(given: readonly (PlatformCredentials | NamedPlatform)[]): PlatformsSource {
  const plain = given.flatMap((entry) => (isCredentials(entry) ? [withPlatform(entry)] : []))
  const whole = given.flatMap((entry, at) => {
    if (isCredentials(entry)) return []
    const { name, ...platform } = entry
    return [{ name, platform, at }]
  })
  const read = platformsOfOption('auth.platforms', whole)
  const basic = [...plain, ...read.basic]
  for (const { platform, username } of basic) {
    const other = basic.find((entry) => entry.username === username && entry.platform !== platform)
    if (other === undefined) continue
    throw new PlatformsError(`auth.platforms: ${platform} and ${other.platform} have one username; each needs its own.`)
  }
  return { current: { ...read, basic } }
}

function isCredentials(entry: PlatformCredentials | NamedPlatform): entry is PlatformCredentials {
  return 'password' in entry
}

function withPlatform({ name, username, password }: PlatformCredentials) {
  return { platform: name, username, password }
}
