import { crc32, deflateRawSync, gzipSync } from 'node:zlib'

/** A file of an archive. */
export interface Entry {
  /** With slashes, below the one folder that an archive holds. */
  readonly path: string
  readonly content: Buffer
  readonly executable: boolean
}

/** The same files make the same archive wherever and whenever: the time is the earliest that a ZIP can hold. */
const TIME_S = Date.UTC(1980, 0, 1) / 1_000
const DOS_DATE = (1 << 5) | 1

/** A gzipped tape archive (POSIX.1-1988, "ustar"). */
export function tarGz(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap(({ path, content, executable }) => [
    tarHeader(path, content.length, executable ? 0o755 : 0o644),
    content,
    Buffer.alloc((512 - (content.length % 512)) % 512)
  ])
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(1_024)]), { level: 9 })
}

function tarHeader(path: string, size: number, mode: number): Buffer {
  if (Buffer.byteLength(path) > 100) throw new Error(`${path} is too long for a tape archive.`)
  const header = Buffer.alloc(512)
  const octal = (value: number, at: number, length: number) =>
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, 'latin1')
  header.write(path, 0)
  octal(mode, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  octal(TIME_S, 136, 12)
  header.write('        0', 148, 'latin1')
  header.write('ustar\x0000', 257, 'latin1')
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    7
  )
  return header
}

/** A ZIP archive (APPNOTE 6.3.10), with permissions as Unix keeps them. */
export function zip(entries: readonly Entry[]): Buffer {
  const files: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const { path, content, executable } of entries) {
    const name = Buffer.from(path)
    const data = deflateRawSync(content, { level: 9 })
    // Version 2.0, names in UTF-8, deflated
    const common = numbers([20, 2], [0x800, 2], [8, 2], [0, 2], [DOS_DATE, 2], [crc32(content), 4], [data.length, 4])
    const sizes = numbers([content.length, 4], [name.length, 2], [0, 2])
    const file = Buffer.concat([numbers([0x04034b50, 4]), common, sizes, name, data])
    const mode = (0o100000 | (executable ? 0o755 : 0o644)) * 0x10000
    const place = numbers([0, 2], [0, 2], [0, 2], [mode, 4], [offset, 4])
    directory.push(Buffer.concat([numbers([0x02014b50, 4], [0x0314, 2]), common, sizes, place, name]))
    files.push(file)
    offset += file.length
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0)
  const count = entries.length
  const end = numbers([0x06054b50, 4], [0, 2], [0, 2], [count, 2], [count, 2], [size, 4], [offset, 4], [0, 2])
  return Buffer.concat([...files, ...directory, end])
}

/** Unsigned numbers, the least byte first. */
function numbers(...fields: readonly [value: number, bytes: number][]): Buffer {
  return Buffer.concat(
    fields.map(([value, bytes]) => {
      const buffer = Buffer.alloc(bytes)
      buffer.writeUIntLE(value, 0, bytes)
      return buffer
    })
  )
}
