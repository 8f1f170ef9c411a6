import type { Parameters } from './connection-url.ts'
import type { TlsSettings } from './tls.ts'

type Check = TlsSettings['check']

/**
 * The check of the certificate for each `sslmode`. Like node-postgres, the broker checks chain and host name in every mode with
 * TLS except `no-verify`. `uselibpqcompat=true` selects the meaning of the modes in libpq.
 */
const MODES: Readonly<Record<string, Check>> = {
  disable: 'off',
  prefer: 'full',
  require: 'full',
  'verify-ca': 'full',
  'verify-full': 'full',
  'no-verify': 'none'
}
const LIBPQ_MODES: Readonly<Record<string, Check>> = { ...MODES, prefer: 'none', require: 'none', 'verify-ca': 'chain' }
const SWITCH: Readonly<Record<string, Check>> = {
  true: 'full',
  '1': 'full',
  false: 'off',
  '0': 'off',
  'no-verify': 'none'
}
const BOOLEAN: Readonly<Record<string, boolean>> = { true: true, '1': true, false: false, '0': false }
const NEGOTIATIONS: Readonly<Record<string, boolean>> = { postgres: false, direct: true }

/** The TLS settings in the parameters of a connection URL; undefined if there are none. */
export function tlsFrom(given: Parameters, refuse: (reason: string) => Error): TlsSettings | undefined {
  const choose = <T>(name: keyof Parameters, values: Readonly<Record<string, T>>, hint = ''): T | undefined => {
    const text = given[name]
    if (text === undefined) return undefined
    if (Object.hasOwn(values, text)) return values[text]
    throw refuse(`has ${name}=${text}: allowed are ${Object.keys(values).join(', ')}.${hint}`)
  }
  const compatible = choose('uselibpqcompat', BOOLEAN) ?? false
  const mode = choose('sslmode', compatible ? LIBPQ_MODES : MODES)
  const hint = Object.hasOwn(MODES, given.ssl ?? '') ? ` Write sslmode=${given.ssl}.` : ''
  const ssl = choose('ssl', SWITCH, hint)
  if (mode !== undefined && ssl !== undefined && (mode === 'off') !== (ssl === 'off')) {
    throw refuse(`has ssl=${given.ssl} and sslmode=${given.sslmode}, which contradict each other: keep sslmode.`)
  }
  const { sslrootcert: rootCertFile, sslcert: certFile, sslkey: keyFile } = given
  const files = { rootCertFile, certFile, keyFile }
  const direct = choose('sslnegotiation', NEGOTIATIONS) ?? false
  const implied = direct || Object.values(files).some((file) => file !== undefined) ? 'full' : undefined
  const check = mode ?? ssl ?? implied
  if (check === undefined) return undefined
  if (direct && check === 'off') throw refuse('has sslnegotiation=direct, which needs TLS: set sslmode=verify-full.')
  if (compatible && given.sslmode === 'verify-ca' && rootCertFile === undefined) {
    throw refuse('has sslmode=verify-ca, which needs sslrootcert: the file of the authority.')
  }
  // With an authority, libpq checks the chain in the mode `require`
  const chained = compatible && given.sslmode === 'require' && rootCertFile !== undefined
  // libpq does not know `no-verify`
  const libpqMode = given.sslmode === 'no-verify' ? 'require' : given.sslmode
  return { check: chained ? 'chain' : check, libpqMode, direct, ...files }
}
