import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A certificate with its key, as files and as text. */
export interface Certificate {
  readonly certFile: string
  readonly keyFile: string
  readonly cert: string
  readonly key: string
}

export interface CertificateOptions {
  /** `/OU=platforms/CN=cf` */
  readonly subject: string
  /** `DNS:cf.example.com` */
  readonly alternativeName?: string
  /** Whose signature it has; without one it has its own. */
  readonly issuer?: Certificate
}

/** Makes a certificate in a folder with openssl; valid for two days. */
export function makeCertificate(folder: string, name: string, options: CertificateOptions): Certificate {
  const { subject, alternativeName, issuer } = options
  const [certFile, keyFile] = [join(folder, `${name}.pem`), join(folder, `${name}-key.pem`)]
  const configFile = join(folder, `${name}.cnf`)
  const extension = alternativeName === undefined ? '' : `subjectAltName=${alternativeName}\n`
  writeFileSync(configFile, `[req]\ndistinguished_name=dn\nstring_mask=utf8only\n[dn]\n[ext]\n${extension}`)
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', keyFile]
  const signing = issuer === undefined ? [] : ['-CA', issuer.certFile, '-CAkey', issuer.keyFile]
  const extensions = alternativeName === undefined ? [] : ['-extensions', 'ext']
  const files = [
    '-config',
    configFile,
    ...extensions,
    ...signing,
    '-days',
    '2',
    '-utf8',
    '-subj',
    subject,
    '-out',
    certFile
  ]
  execFileSync('openssl', ['req', '-x509', '-batch', ...key, ...files], { stdio: 'pipe' })
  return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
}
