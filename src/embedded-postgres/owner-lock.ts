import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { EmbeddedPostgresError, ignoring } from './errors.ts'
import { findProcess, pidSpace } from './processes.ts'

/** The right to run the server of a data directory. */
export interface OwnerLock {
  release: () => Promise<void>
}

/** What the lock file says about its owner. */
interface Claim {
  pid: number
  startMark: string | undefined
  space: string
  released: boolean
}

const heartbeatMs = 2_000
const silenceMs = 10_000
const surelyStaleMs = 60_000

/**
 * Takes the lock of a folder, over from an owner that is gone.
 *
 * Lock files are numbered and the highest rules. Taking over means to create the next number, which only one process
 * can; removing or overwriting the file of a dead owner could hit the file of another that took over a moment before.
 * For the same reason a release leaves its file, marked as released: numbers never start again.
 *
 * @throws EmbeddedPostgresError `in-use`
 */
export async function takeOwnerLock(folder: string): Promise<OwnerLock> {
  const space = await pidSpace()
  const mine: Claim = {
    pid: process.pid,
    startMark: (await findProcess(process.pid))?.startMark,
    space,
    released: false
  }
  for (;;) {
    const highest = await highestNumber(folder)
    if (highest > 0) await requireGone(folder, highest, space)
    const number = highest + 1
    const path = lockPath(folder, number)
    const made = await writeFile(path, JSON.stringify(mine), { flag: 'wx', mode: 0o600 }).then(
      () => true,
      ignoring('EEXIST')
    )
    if (!made) continue
    // A process that stood still since it looked may have made a number that was taken, released and removed.
    if ((await highestNumber(folder)) !== number) {
      await rm(path, { force: true })
      continue
    }
    for (let old = highest; old > 0 && old > highest - 10; old--) await rm(lockPath(folder, old), { force: true })
    return keep(path, mine)
  }
}

function keep(path: string, mine: Claim): OwnerLock {
  const beat = setInterval(() => {
    const now = new Date()
    // Missed beats only matter to owners on other machines; the folder may have been removed under us.
    utimes(path, now, now).catch(() => undefined)
  }, heartbeatMs)
  beat.unref()
  return {
    release: async () => {
      clearInterval(beat)
      const draft = `${path}.draft`
      await writeFile(draft, JSON.stringify({ ...mine, released: true }), { mode: 0o600 })
        .then(() => rename(draft, path))
        .catch(ignoring('ENOENT'))
    }
  }
}

async function requireGone(folder: string, number: number, space: string): Promise<void> {
  const path = lockPath(folder, number)
  const claim = await readClaim(path)
  if (claim === undefined || claim.released) return
  if (claim.space === space) {
    const holder = await findProcess(claim.pid)
    const other =
      holder?.startMark !== undefined && claim.startMark !== undefined && holder.startMark !== claim.startMark
    if (holder === undefined || other) return
    const who = claim.pid === process.pid ? 'by this process' : `by process ${claim.pid}`
    throw inUse(folder, `${who}: stop it first`)
  }
  // A pid of another machine or container says nothing here, so see whether the owner still touches its file.
  if (await fallsSilent(path)) return
  throw inUse(folder, 'by a process of another machine or container: stop it first')
}

function inUse(folder: string, who: string): EmbeddedPostgresError {
  const message = `The data directory ${folder} is in use ${who}, or give this one a directory of its own (BROKER_DATA_DIR).`
  return new EmbeddedPostgresError('in-use', message)
}

async function fallsSilent(path: string): Promise<boolean> {
  const seen = (await stat(path).catch(ignoring('ENOENT')))?.mtimeMs
  if (seen === undefined || Date.now() - seen > surelyStaleMs) return true
  for (const end = Date.now() + silenceMs; Date.now() < end; await delay(200)) {
    if ((await stat(path).catch(ignoring('ENOENT')))?.mtimeMs !== seen) return false
  }
  return true
}

/** Undefined for a file without content: its maker died between making and writing it. */
async function readClaim(path: string): Promise<Claim | undefined> {
  for (const end = Date.now() + 1_000; Date.now() < end; await delay(50)) {
    const text = await readFile(path, 'utf8').catch(ignoring('ENOENT'))
    if (text === undefined) return undefined
    const claim = parseClaim(text)
    if (claim !== undefined) return claim
  }
  return undefined
}

function parseClaim(text: string): Claim | undefined {
  if (!text.endsWith('}')) return undefined
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null || !('pid' in value) || !('space' in value)) return undefined
  if (typeof value.pid !== 'number' || typeof value.space !== 'string') return undefined
  const startMark = 'startMark' in value && typeof value.startMark === 'string' ? value.startMark : undefined
  return { pid: value.pid, space: value.space, startMark, released: 'released' in value && value.released === true }
}

async function highestNumber(folder: string): Promise<number> {
  const numbers = (await readdir(folder)).map((name) => Number(/^owner\.(\d+)\.lock$/.exec(name)?.[1] ?? 0))
  return Math.max(0, ...numbers)
}

function lockPath(folder: string, number: number): string {
  return join(folder, `owner.${number}.lock`)
}
