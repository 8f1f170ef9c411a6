import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { readTextFile } from './data-directory.ts'
import { ignoring } from './errors.ts'
import type { Server } from './server.ts'

const maxLogBytes = 10 * 1024 * 1024

export function logPath(dataDir: string): string {
  return join(dataDir, 'postgres.log')
}

/** Opened for the server to append to; a log that has grown large is put aside, over the one before. */
export async function openLog(dataDir: string): Promise<FileHandle> {
  const path = logPath(dataDir)
  const size = (await stat(path).catch(ignoring('ENOENT')))?.size ?? 0
  if (size > maxLogBytes) await rename(path, `${path}.old`)
  return await open(path, 'a', 0o600)
}

/** The last lines written since the log had the given length in bytes. */
export async function readLog({ directory }: Server, start: number): Promise<string> {
  const text = (await readTextFile(logPath(directory.path))) ?? ''
  return Buffer.from(text).subarray(start).toString().split('\n').slice(-12).join('\n')
}
