import { readFile, stat } from 'node:fs/promises'
import { extname, resolve } from 'node:path'
import { CatalogError } from './faults.ts'
import { MAX_CATALOG_CHARACTERS } from './json-copy.ts'
import { type Problem, parseCatalogText } from './parse.ts'

/** A catalog as its file has it, unchecked. */
export interface CatalogFile {
  /** Absolute. */
  path: string
  value: unknown
  modified: Date
}

/** The text of a catalog file, before anything is made of it. */
export interface CatalogText {
  text: string
  /** By the name of the file; other text may be either. */
  isJson: boolean
  modified: Date
}

/**
 * Reads a catalog file, JSON or YAML.
 * @throws {CatalogError} in one line: the variable, the path, what is wrong, and where for a fault of syntax
 */
export async function readCatalogFile(path: string): Promise<CatalogFile> {
  const absolute = resolve(path)
  const what = `BROKER_CATALOG_PATH: the catalog ${absolute}`
  const { text, isJson, modified } = await readCatalogText(absolute, what)
  const parsed = parseCatalogText(text, isJson)
  if ('problem' in parsed) throw unreadable(what, withPlace(parsed))
  return { path: absolute, value: parsed.value, modified }
}

/**
 * Reads the text of a catalog file.
 * @param what names it in the message
 * @throws {CatalogError} in one line
 */
export async function readCatalogText(path: string, what = path): Promise<CatalogText> {
  try {
    // Before opening it: the open of a pipe would wait for its writer.
    const file = await stat(path)
    if (!file.isFile()) throw unreadable(what, file.isDirectory() ? 'it is a directory' : 'it is not a regular file')
    requireSize(file.size, what)
    const text = decodeCatalog(await readFile(path), what)
    return { text, isJson: extname(path).toLowerCase() === '.json', modified: file.mtime }
  } catch (error) {
    throw error instanceof CatalogError ? error : unreadable(what, systemReason(error), error)
  }
}

/**
 * The text of a catalog that came from anywhere.
 * @throws {CatalogError} for what is too large, and for bytes that are no UTF-8
 */
export function decodeCatalog(bytes: Uint8Array, what: string): string {
  requireSize(bytes.length, what)
  try {
    // Drops a byte order mark, which JSON.parse would refuse.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw unreadable(what, 'it is not UTF-8 text', error)
  }
}

function requireSize(bytes: number, what: string): void {
  if (bytes <= MAX_CATALOG_CHARACTERS) return
  throw unreadable(what, `it has ${bytes} bytes; at most ${MAX_CATALOG_CHARACTERS} are read`)
}

function withPlace({ problem, line, column }: Problem): string {
  return line === undefined ? problem : `${problem} at line ${line}, column ${column}`
}

function unreadable(what: string, reason: string, cause?: unknown): CatalogError {
  return new CatalogError(`${what} cannot be read: ${reason}`, { cause })
}

function systemReason(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied'
  return error instanceof Error ? error.message : String(error)
}
