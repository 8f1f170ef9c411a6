import { createPrivateKey, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { createServer, type Server } from 'node:https'
import { createSecureContext, type SecureContextOptions } from 'node:tls'
import type { FastifyBaseLogger } from 'fastify'
import { ConfigError, type Environment } from './config.ts'

/** Files of `BROKER_TLS_*`, by variable. */
export interface TlsFiles {
  readonly BROKER_TLS_CERT: string
  readonly BROKER_TLS_KEY: string
  readonly BROKER_TLS_CLIENT_CA?: string
}

/** Files are looked at so often; a change is taken when it has lasted for as long. */
const POLL_MS = 500
/** Whoever connects and says nothing is dropped after this time; Node's own bound is two minutes. */
const HANDSHAKE_TIMEOUT_MS = 10_000

/** The files of TLS, where the configuration names them. */
export function tlsFiles(config: Environment): TlsFiles | undefined {
  const { BROKER_TLS_CERT, BROKER_TLS_KEY, BROKER_TLS_CLIENT_CA } = config
  if (BROKER_TLS_CERT === undefined || BROKER_TLS_KEY === undefined) return undefined
  const files = { BROKER_TLS_CERT, BROKER_TLS_KEY }
  return BROKER_TLS_CLIENT_CA === undefined ? files : { ...files, BROKER_TLS_CLIENT_CA }
}

/**
 * Servers of HTTPS whose certificate follows its files. With a CA of clients a certificate is asked for, and whoever has
 * none may still come in another way.
 */
export class TlsServers {
  readonly #files: TlsFiles
  readonly #servers = new Set<Server>()
  #context: SecureContextOptions
  /** Of the files that the context was made of. */
  #taken: string
  #timer: NodeJS.Timeout | undefined

  /** @throws {ConfigError} naming the variable whose file is not usable */
  constructor(files: TlsFiles) {
    this.#files = files
    this.#taken = this.#state()
    this.#context = readContext(files)
  }

  /** As Fastify's `serverFactory`: for localhost it makes one server for each address. */
  create(handler: RequestListener, { http, requestTimeout, keepAliveTimeout }: Record<string, unknown>): Server {
    const options = {
      ...Object(http),
      ...this.#context,
      requestCert: this.#files.BROKER_TLS_CLIENT_CA !== undefined,
      rejectUnauthorized: false,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      // Fastify sets them only on servers that it makes itself.
      requestTimeout: Number(requestTimeout),
      keepAliveTimeout: Number(keepAliveTimeout)
    }
    const server = createServer(options, handler)
    this.#servers.add(server)
    return server
  }

  /**
   * Follows the files. By their stat, since Kubernetes swaps a symbolic link above them; one that has just changed is left
   * for another round, for the certificate and its key may not be written at once.
   */
  follow(log: FastifyBaseLogger): void {
    let before = this.#taken
    this.#timer = setInterval(() => {
      const now = this.#state()
      const isSettled = now === before
      before = now
      if (!isSettled || now === this.#taken) return
      this.#taken = now
      this.#reload(log)
    }, POLL_MS)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** New connections get the new certificate; open ones live on. */
  #reload(log: FastifyBaseLogger): void {
    try {
      this.#context = readContext(this.#files)
      for (const server of this.#servers) server.setSecureContext(this.#context)
      log.info('the certificate was loaded again')
    } catch (error) {
      log.error({ err: error }, 'the certificate was not loaded again; the old one stays')
    }
  }

  #state(): string {
    return Object.values(this.#files)
      .map((file: string) => {
        try {
          const { ino, size, mtimeMs, ctimeMs } = statSync(file)
          return [ino, size, mtimeMs, ctimeMs].join()
        } catch (error) {
          // Gone or closed to us: a state as well, which the reading then reports.
          return String(error)
        }
      })
      .join(' ')
  }
}

function readContext({ BROKER_TLS_CERT, BROKER_TLS_KEY, BROKER_TLS_CLIENT_CA }: TlsFiles): SecureContextOptions {
  const cert = read('BROKER_TLS_CERT', BROKER_TLS_CERT)
  const key = read('BROKER_TLS_KEY', BROKER_TLS_KEY)
  const leaf = requireCertificates('BROKER_TLS_CERT', BROKER_TLS_CERT, cert)
  if (!leaf.checkPrivateKey(privateKeyOf(BROKER_TLS_KEY, key))) {
    throw new ConfigError(
      `BROKER_TLS_KEY: ${BROKER_TLS_KEY} is not the key of the first certificate in ${BROKER_TLS_CERT}.`
    )
  }
  const options: SecureContextOptions = { cert, key, minVersion: 'TLSv1.2' }
  if (BROKER_TLS_CLIENT_CA !== undefined) {
    options.ca = read('BROKER_TLS_CLIENT_CA', BROKER_TLS_CLIENT_CA)
    requireCertificates('BROKER_TLS_CLIENT_CA', BROKER_TLS_CLIENT_CA, options.ca)
  }
  try {
    createSecureContext(options)
    return options
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new ConfigError(`BROKER_TLS_CERT: ${BROKER_TLS_CERT} cannot be used: ${reason}.`, { cause: error })
  }
}

function read(variable: keyof TlsFiles, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new ConfigError(`${variable} cannot be read: ${reason}.`, { cause: error })
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

/** OpenSSL takes a file without any for an empty list. Answers the first. */
function requireCertificates(variable: keyof TlsFiles, file: string, pem: string): X509Certificate {
  try {
    const [first] = (pem.match(CERTIFICATE) ?? []).map((block) => new X509Certificate(block))
    if (first === undefined) throw new Error('it holds none')
    return first
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new ConfigError(`${variable}: ${file} must hold certificates in PEM: ${reason}.`, { cause: error })
  }
}

function privateKeyOf(file: string, pem: string) {
  try {
    return createPrivateKey(pem)
  } catch (error) {
    throw new ConfigError(`BROKER_TLS_KEY: ${file} must hold a private key in PEM, without a passphrase.`, {
      cause: error
    })
  }
}
