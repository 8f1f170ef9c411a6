import { readFile, stat } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { CatalogError } from './faults.ts'
import { MAX_CATALOG_CHARACTERS } from './json-copy.ts'
import { parseCatalogText } from './parse.ts'

/** A catalog as its file has it, unchecked. */
export interface CatalogFile {
  /** Absolute. */
  path: string
  value: unknown
  modified: Date
}

/**
 * Reads a catalog file, JSON or YAML.
 * @throws {CatalogError} in one line: the variable, the path, what is wrong, and where for a fault of syntax
 */
export async function readCatalogFile(path: string): Promise<CatalogFile> {
  const absolute = resolve(path)
  const { bytes, modified } = await readBounded(absolute)
  const parsed = parseCatalogText(decode(bytes, absolute), extname(absolute).toLowerCase() === '.json')
  if ('problem' in parsed) throw unreadable(absolute, parsed.problem)
  return { path: absolute, value: parsed.value, modified }
}

async function readBounded(path: string): Promise<{ bytes: Buffer; modified: Date }> {
  try {
    // Before opening it: the open of a pipe would wait for its writer.
    const file = await stat(path)
    if (!file.isFile()) throw unreadable(path, file.isDirectory() ? 'it is a directory' : 'it is not a regular file')
    if (file.size > MAX_CATALOG_CHARACTERS) {
      throw unreadable(path, `it has ${file.size} bytes; at most ${MAX_CATALOG_CHARACTERS} are read`)
    }
    return { bytes: await readFile(path), modified: file.mtime }
  } catch (error) {
    throw error instanceof CatalogError ? error : unreadable(path, systemReason(error), error)
  }
}

function decode(bytes: Buffer, path: string): string {
  try {
    // Drops a byte order mark, which JSON.parse would refuse.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw unreadable(path, 'it is not UTF-8 text', error)
  }
}

function unreadable(path: string, reason: string, cause?: unknown): CatalogError {
  return new CatalogError(`BROKER_CATALOG_PATH: the catalog ${path} cannot be read: ${reason}`, { cause })
}

function systemReason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied'
  return error instanceof Error ? error.message : String(error)
}
