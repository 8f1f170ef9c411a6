import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/**
 * node deploy/build/smoke.ts FOLDER: tries an unpacked archive on this system. Its launcher runs a broker in memory, and
 * the conformance kit of the same archive goes over it.
 */

const root = join(import.meta.dirname, '../..')
const [folder] = process.argv.slice(2)
if (folder === undefined) throw new Error('usage: node deploy/build/smoke.ts FOLDER')

const env = {
  ...process.env,
  BROKER_STORAGE: 'memory',
  BROKER_USERNAME: 'smoke',
  BROKER_PASSWORD: 'smoke',
  BROKER_PORT: '0',
  BROKER_CATALOG_PATH: join(root, 'test/fixtures/seed-catalog.yaml'),
  BROKER_DEFAULT_PROVIDER: 'example',
  LOG_LEVEL: 'error',
  OSB_USERNAME: 'smoke',
  OSB_PASSWORD: 'smoke'
}

const broker = start('serve')
let url: string | undefined
for await (const line of createInterface(broker.stdout)) {
  url = /^The broker listens on (\S+) /.exec(line)?.[1]
  if (url !== undefined) break
}
if (url === undefined) throw new Error('The broker ended before it listened.')
const kit = start('conformance', url)
kit.stdout.pipe(process.stdout)
const [code] = await once(kit, 'close')
broker.kill()
process.exit(code)

function start(...args: string[]) {
  // A .cmd is run by the shell; none of the arguments needs to be quoted.
  const windows = process.platform === 'win32'
  const launcher = join(folder ?? '', windows ? 'osb.cmd' : 'osb')
  return spawn(launcher, args, { env, shell: windows, stdio: ['ignore', 'pipe', 'inherit'] })
}
