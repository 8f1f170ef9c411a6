import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** PgBouncer in transaction mode on 127.0.0.1, before one server. */
export interface PgBouncer {
  readonly port: number
  /** The same URL, through PgBouncer. */
  through(url: string): string
  close(): Promise<void>
}

/** Debian has it in a folder that only root has on its path. */
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` }

/** Why tests with PgBouncer cannot run here; undefined when they can. */
export const noPgBouncer: string | undefined =
  spawnSync('pgbouncer', ['--version'], { env }).status === 0
    ? undefined
    : 'pgbouncer is not installed: apt-get install pgbouncer'

const running = new Set<{ child: ChildProcess; folder: string }>()
// Also after a failure, and when the file takes too long.
process.once('exit', clearUp)
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    clearUp()
    process.kill(process.pid, signal)
  })
}

/**
 * Starts PgBouncer before the server of a URL, for its user.
 * @param options `ignoreOptions`: whether PgBouncer drops startup options silently (`ignore_startup_parameters`), which it
 * refuses otherwise; `poolSize`: connections to the server at most, default 10
 */
export async function startPgBouncer(
  url: string,
  { ignoreOptions = false, poolSize = 10 }: { ignoreOptions?: boolean; poolSize?: number } = {}
): Promise<PgBouncer> {
  const { port: serverPort, username, password } = new URL(url)
  const folder = mkdtempSync(join(tmpdir(), 'osb-pgbouncer-'))
  const port = await freePort()
  const file = (name: string, text: string) => {
    const path = join(folder, name)
    writeFileSync(path, text, { mode: 0o644 })
    return path
  }
  const users = file('users.txt', `"${decodeURIComponent(username)}" "${decodeURIComponent(password)}"\n`)
  const configuration = file(
    'pgbouncer.ini',
    `[databases]
* = host=127.0.0.1 port=${serverPort}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${users}
pool_mode = transaction
default_pool_size = ${poolSize}
max_client_conn = 500
ignore_startup_parameters = extra_float_digits${ignoreOptions ? ', options' : ''}
`
  )
  // It does not run as root
  const root = process.getuid?.() === 0
  chmodSync(folder, 0o755)
  const child = spawn('pgbouncer', [...(root ? ['-u', 'nobody'] : []), configuration], {
    env,
    stdio: ['ignore', 'ignore', 'pipe']
  })
  const entry = { child, folder }
  running.add(entry)
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text
  })
  for (const end = Date.now() + 20_000; !(await listens(port)); await delay(50)) {
    if (child.exitCode !== null || Date.now() > end) throw new Error(`PgBouncer does not listen: ${said}`)
  }
  return {
    port,
    through: (other) => other.replace(/@[^/]+/, `@127.0.0.1:${port}`),
    async close() {
      running.delete(entry)
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL')
        await once(child, 'exit')
      }
      rmSync(folder, { recursive: true, force: true })
    }
  }
}

function clearUp(): void {
  for (const { child, folder } of running) {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('there is no free port')
  return address.port
}

async function listens(port: number): Promise<boolean> {
  const socket = connect({ host: '127.0.0.1', port })
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
