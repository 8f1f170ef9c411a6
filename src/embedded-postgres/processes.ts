import { execFile } from 'node:child_process'
import { readdir, readFile, readlink } from 'node:fs/promises'
import { hostname } from 'node:os'
import { promisify } from 'node:util'
import { errnoOf, ignoring } from './errors.ts'

/** A live process. What the system does not tell is undefined: then it must be taken for the one we look for. */
export interface ProcessInfo {
  pid: number
  uid: number | undefined
  /** Differs between two processes that had the same pid one after the other. */
  startMark: string | undefined
  command: string | undefined
  /** Working folder. */
  cwd: string | undefined
}

const run = promisify(execFile)

/** The live process with this pid; a zombie counts as gone, since it holds nothing and may stay for ever. */
export async function findProcess(pid: number): Promise<ProcessInfo | undefined> {
  if (!exists(pid)) return undefined
  if (process.platform === 'linux') return await fromProc(pid)
  if (process.platform === 'win32') return unknownProcess(pid)
  const listed = await run('ps', ['-ww', ...psColumns, '-p', String(pid)], { env: psEnv }).catch(() => undefined)
  if (listed !== undefined) return parsePs(listed.stdout)[0]
  return exists(pid) ? unknownProcess(pid) : undefined
}

/** Live processes whose command starts as given; none on Windows, which has no way to list them at hand. */
export async function findProcessesByCommand(start: string): Promise<ProcessInfo[]> {
  if (process.platform === 'win32') return []
  if (process.platform !== 'linux') {
    const listed = await run('ps', ['-ww', '-ax', ...psColumns], { env: psEnv, maxBuffer: 2 ** 26 })
    return parsePs(listed.stdout).filter(({ command }) => command?.startsWith(start))
  }
  const pids = (await readdir('/proc')).map(Number).filter(Number.isInteger)
  const found = await Promise.all(pids.map(fromProc))
  return found.filter((info) => info?.command?.startsWith(start) === true).filter((info) => info !== undefined)
}

/** Names the space in which a pid means one process: this boot of this machine, and this container. */
export async function pidSpace(): Promise<string> {
  if (process.platform !== 'linux') return hostname()
  const boot = await readFile('/proc/sys/kernel/random/boot_id', 'utf8').catch(() => '')
  const space = await readlink('/proc/self/ns/pid').catch(() => '')
  return `${hostname()} ${boot.trim()} ${space}`
}

export function exists(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return errnoOf(error) === 'EPERM'
  }
}

async function fromProc(pid: number): Promise<ProcessInfo | undefined> {
  const read = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8').catch(ignoring('ENOENT', 'ESRCH', 'EACCES'))
  const [stat, status, command] = await Promise.all([read('stat'), read('status'), read('cmdline')])
  // /proc can hide the processes of others (hidepid).
  if (stat === undefined) return exists(pid) ? unknownProcess(pid) : undefined
  // proc_pid_stat(5): the name in parentheses may itself hold blanks and parentheses; state is field 3, starttime 22.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined
  const uid = status?.match(/^Uid:\s+(\d+)/m)?.[1]
  return {
    pid,
    uid: uid === undefined ? undefined : Number(uid),
    startMark: fields[19],
    command: command?.replaceAll('\0', ' ').trim(),
    // Of another account's process, only with CAP_SYS_PTRACE, which root has on a machine but not in a container.
    cwd: await readlink(`/proc/${pid}/cwd`).catch(() => undefined)
  }
}

const psColumns = ['-o', 'pid=,uid=,state=,lstart=,command=']
const psEnv = { ...process.env, LC_ALL: 'C' }

/** Lines of `ps`, as macOS and Linux print them with the columns above. */
export function parsePs(text: string): ProcessInfo[] {
  const line = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(\S+\s+\S+\s+\d+\s+[\d:]+\s+\d+)\s+(.*)$/
  return text.split('\n').flatMap((row) => {
    const [, pid, uid, state, startMark, command] = line.exec(row) ?? []
    if (pid === undefined || state === undefined || state.startsWith('Z')) return []
    return [{ pid: Number(pid), uid: Number(uid), startMark, command: command?.trim(), cwd: undefined }]
  })
}

function unknownProcess(pid: number): ProcessInfo {
  return { pid, uid: undefined, startMark: undefined, command: undefined, cwd: undefined }
}
