import { execFile } from 'node:child_process'
import { access, constants, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { ignoring } from './errors.ts'

/** An account of the system, as in `/etc/passwd`. */
export interface SystemAccount {
  readonly uid: number
  readonly gid: number
}

/** System account that the embedded server runs as under root. */
export const OWN_ACCOUNT = 'osb-postgres'

const COMMENT = 'Embedded PostgreSQL of the Open Service Broker'
/** The command for an operator, and that of systems with the shadow tools. */
const USERADD = ['useradd', '--system', '--user-group', '--no-create-home', '--home-dir', '/nonexistent']
/** Another process may hold the lock of the password file. */
const ATTEMPTS = 20
const RETRY_MS = 250
const TOOL_TIMEOUT_MS = 30_000

/** The folders of the system alone, because root runs these tools. */
const PATH = ['/usr/sbin', '/usr/bin', '/sbin', '/bin']

const execute = promisify(execFile)

/** Finds an account by name. Returns undefined for root too, because PostgreSQL refuses to run as root. */
export async function findAccount(name: string): Promise<SystemAccount | undefined> {
  const passwd = await readFile('/etc/passwd', 'utf8').catch(ignoring('ENOENT'))
  const fields = passwd
    ?.split('\n')
    .find((line) => line.startsWith(`${name}:`))
    ?.split(':')
  // The uid of "nobody" is -2 on some systems.
  const [uid, gid] = [Number(fields?.[2]) >>> 0, Number(fields?.[3]) >>> 0]
  return fields === undefined || uid === 0 ? undefined : { uid, gid }
}

/**
 * The account of the embedded server, created on the first start under root. It is not "nobody", because other programs
 * run as "nobody" and could read the files of the cluster.
 * @returns undefined when the account cannot be created; the reason goes to the log, with what to do
 */
export async function ownAccount(log: (line: string) => void): Promise<SystemAccount | undefined> {
  const known = await findAccount(OWN_ACCOUNT)
  if (known !== undefined) return known
  try {
    const { account, byUs } = await createAccount()
    if (byUs) log(`created the system account "${OWN_ACCOUNT}" (uid ${account.uid}) to run the embedded PostgreSQL`)
    return account
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim().replaceAll('\n', ' ') : String(error)
    log(
      `warning: the embedded PostgreSQL runs as "nobody", as other programs may, because the account "${OWN_ACCOUNT}" ` +
        `cannot be created (${reason}). Before the first start, create it with: ${USERADD.join(' ')} ${OWN_ACCOUNT}`
    )
    return undefined
  }
}

async function createAccount(): Promise<{ account: SystemAccount; byUs: boolean }> {
  if (process.platform !== 'linux')
    throw new Error(`the broker creates accounts on Linux only, not on ${process.platform}`)
  await access('/etc', constants.W_OK)
  for (let attempt = 1; ; attempt += 1) {
    try {
      await runTools()
    } catch (error) {
      // Several brokers may start at once: one of them creates the account, and the others find it or the lock.
      const account = await findAccount(OWN_ACCOUNT)
      if (account !== undefined) return { account, byUs: false }
      if (attempt === ATTEMPTS || !/lock/i.test(String(error))) throw error
      await sleep(RETRY_MS)
      continue
    }
    const account = await findAccount(OWN_ACCOUNT)
    if (account === undefined) throw new Error('it is not in /etc/passwd afterwards')
    return { account, byUs: true }
  }
}

/** In the order in which they are preferred. Alpine Linux has the tools of BusyBox. */
async function runTools(): Promise<void> {
  const [useradd = '', ...options] = USERADD
  if (await isOnPath(useradd)) {
    await run(useradd, [...options, '--shell', '/usr/sbin/nologin', '--comment', COMMENT, OWN_ACCOUNT])
    return
  }
  if (!(await isOnPath('addgroup'))) throw new Error('there is neither useradd nor addgroup')
  try {
    await run('addgroup', ['-S', OWN_ACCOUNT])
  } catch (error) {
    // The group of an attempt that was interrupted, or of another process.
    if (!/in use/.test(String(error))) throw error
  }
  const busybox = ['-S', '-D', '-H', '-h', '/nonexistent', '-s', '/sbin/nologin', '-g', COMMENT]
  await run('adduser', [...busybox, '-G', OWN_ACCOUNT, OWN_ACCOUNT])
}

/**
 * Runs a tool, one at a time: useradd looks for the name before it takes its own lock, so that two at the same time would
 * give the account two uids, one after the other. After the first one the file is another, and the name is in it.
 */
async function run(tool: string, args: readonly string[]): Promise<void> {
  const [command = tool, ...all] = (await isOnPath('flock')) ? ['flock', '/etc/passwd', tool, ...args] : [tool, ...args]
  await execute(command, all, { env: { PATH: PATH.join(':'), LC_ALL: 'C' }, timeout: TOOL_TIMEOUT_MS })
}

async function isOnPath(tool: string): Promise<boolean> {
  for (const folder of PATH) {
    if (
      (await access(`${folder}/${tool}`, constants.X_OK).then(() => true, ignoring('ENOENT', 'EACCES', 'ENOTDIR'))) ===
      true
    )
      return true
  }
  return false
}
