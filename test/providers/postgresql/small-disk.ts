import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeServer } from '../../helper/postgres.ts'

/** A file system of its own for one server, small enough to be filled. */
export class SmallDisk {
  /** For the server's data directory. */
  readonly dataDir: string
  readonly #folder: string

  private constructor(folder: string) {
    this.#folder = folder
    this.dataDir = join(folder, 'data')
    process.once('exit', () => this.remove())
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.once(signal, () => {
        this.remove()
        process.kill(process.pid, signal)
      })
    }
  }

  /** Undefined where this process may mount nothing. */
  static mount(megabytes: number): SmallDisk | undefined {
    const folder = mkdtempSync(join(tmpdir(), 'osb-test-disk-'))
    // Others may enter: the server has an account of its own under root
    const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m,mode=0755`, 'tmpfs', folder])
    if (status === 0) return new SmallDisk(folder)
    rmSync(folder, { recursive: true })
    return undefined
  }

  /** Takes all that is left, also where the server takes some of it at the same time. */
  fill(): void {
    for (let room = this.#room(); room > 0; room = this.#room()) {
      try {
        writeFileSync(this.#ballast, Buffer.alloc(room), { flag: 'a' })
      } catch (error) {
        if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
      }
    }
  }

  clear(): void {
    rmSync(this.#ballast, { force: true })
  }

  /** Ends a server that is left on it, too. */
  remove(): void {
    removeServer(this.dataDir)
    spawnSync('umount', [this.#folder])
    rmSync(this.#folder, { recursive: true, force: true })
  }

  #room(): number {
    const { bavail, bsize } = statfsSync(this.#folder)
    return bavail * bsize
  }

  get #ballast(): string {
    return join(this.#folder, 'ballast')
  }
}
