import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { LoadOrder, LoadReport } from './load-process.ts'
import { placed } from './processes.ts'

const program = fileURLToPath(new URL('load-process.ts', import.meta.url))

/**
 * Puts load on a server, from a process of its own.
 * @throws {Error} when a request was refused or lost: a figure of refusals is none
 */
export async function load(order: Omit<LoadOrder, 'salt'>): Promise<LoadReport> {
  const full: LoadOrder = { ...order, salt: randomBytes(4).toString('hex') }
  const [command = '', ...args] = placed('others', [process.execPath, program, JSON.stringify(full)])
  const { stdout } = await promisify(execFile)(command, args)
  const report: LoadReport = JSON.parse(stdout)
  if (report.refused + report.errors > 0 || report.requests === 0) {
    throw new Error(`${order.scenario} at ${order.url}${order.path}: ${stdout}`)
  }
  return report
}
