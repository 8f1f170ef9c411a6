import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

// Known vulnerabilities of all dependencies, those of development included. A grave one fails; a registry that cannot be
// asked does not, and is said.
const GRAVE = ['high', 'critical']

interface Report {
  readonly metadata?: { readonly vulnerabilities?: Readonly<Record<string, number>> }
  readonly vulnerabilities?: Readonly<Record<string, { readonly severity: string; readonly range: string }>>
  readonly message?: string
  readonly error?: { readonly summary?: string }
}

const { stdout, stderr, error } = spawnSync('npm', ['audit', '--json', '--audit-level=high'], {
  cwd: join(import.meta.dirname, '..'),
  encoding: 'utf8',
  maxBuffer: 64 * 1024 * 1024,
  shell: process.platform === 'win32'
})
if (error !== undefined) throw error
const report = parse(stdout)
const counts = report?.metadata?.vulnerabilities
if (counts === undefined) {
  const reason = report?.message || report?.error?.summary || stderr.trim().split('\n')[0] || 'it gave no report'
  console.log(`NOT CHECKED for known vulnerabilities: the registry's audit cannot be used from here (${reason}).`)
} else {
  const found = Object.entries(report?.vulnerabilities ?? {})
  for (const [name, { severity, range }] of found) console.log(`${severity}: ${name} ${range}`)
  const grave = GRAVE.reduce((sum, severity) => sum + (counts[severity] ?? 0), 0)
  console.log(`known vulnerabilities: ${counts.total ?? found.length}, ${grave} of them high or critical`)
  if (grave > 0) process.exitCode = 1
}

function parse(text: string): Report | undefined {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
