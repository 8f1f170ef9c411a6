import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { classOf, fileNameOf } from './classes.ts'
import { entries } from './entries.ts'
import type { Block, Fault } from './page.ts'

/** A block as a file: those of a page are in one folder, so that they can import each other. */
interface BlockFile {
  readonly block: Block
  readonly path: string
}

const RUN_TIMEOUT_MS = 30_000

/** A folder in which the blocks of the pages are modules that find our packages and the package itself. */
export class BlockProject {
  readonly #root: string
  readonly #folder: string
  readonly #files: readonly BlockFile[]

  constructor(blocks: readonly Block[], { root, folder }: { root: string; folder: string }) {
    this.#root = root
    this.#folder = folder
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ type: 'module' }))
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(this.#settings()))
    this.#files = blocks.flatMap((block) => {
      const isCode = block.language === 'ts' || block.language === 'js'
      const name = fileNameOf(block) ?? (isCode ? `line-${block.line}.${block.language}` : undefined)
      if (name === undefined || classOf(block) === 'unchecked') return []
      const page = join(folder, block.page.replace(/\W/g, '-'))
      mkdirSync(page, { recursive: true })
      // A module even where it imports nothing; and the lines keep their numbers.
      writeFileSync(join(page, name), isCode ? `${block.text}\nexport {}\n` : block.text)
      return [{ block, path: join(page, name) }]
    })
  }

  /** What the compiler says of the blocks, in the lines of their pages. */
  async typeFaults(): Promise<Fault[]> {
    const tsc = join(this.#root, 'node_modules/.bin/tsc')
    const { code, output } = await outcomeOf(tsc, ['-p', this.#folder, '--pretty', 'false'], this.#root)
    if (code === 0) return []
    const faults = [...output.matchAll(/^(.+?)\((\d+),\d+\): error (TS\d+: .*)$/gm)].map(
      ([all, path = '', line, message = '']) => {
        const file = this.#files.find((one) => one.path.endsWith(path.replace(/^(\.\.\/)+/, '')))
        if (file === undefined) return { page: path, line: Number(line), message: all }
        return { page: file.block.page, line: file.block.line + Number(line) - 1, message }
      }
    )
    if (faults.length === 0) throw new Error(`tsc ended with ${code}:\n${output}`)
    return faults
  }

  /** Runs the blocks that are marked so, each from the folder of its page, and expects that they end with success. */
  async runFaults(): Promise<Fault[]> {
    const runnable = this.#files.filter(({ block }) => classOf(block) === 'run')
    const faults: Fault[] = []
    for (const { block, path } of runnable) {
      const hook = pathToFileURL(join(import.meta.dirname, 'resolve-sources.ts')).href
      const args = ['--import', hook, basename(path)]
      const { code, output } = await outcomeOf(process.execPath, args, join(path, '..'))
      if (code === 0) continue
      faults.push({ page: block.page, line: block.line, message: `it ended with ${code}:\n${output}` })
    }
    return faults
  }

  #settings() {
    return {
      extends: join(this.#root, 'tsconfig.json'),
      compilerOptions: {
        // What a text shows need not be used in it.
        noUnusedLocals: false,
        noUnusedParameters: false,
        paths: Object.fromEntries(Object.entries(entries).map(([name, path]) => [name, [join(this.#root, path)]]))
      },
      include: ['*/*.ts', '*/*.js'],
      exclude: ['node_modules']
    }
  }
}

async function outcomeOf(program: string, args: string[], cwd: string): Promise<{ code: unknown; output: string }> {
  const env = { ...process.env, NODE_TEST_CONTEXT: undefined, BROKER_PASSWORD: 'a password' }
  try {
    const { stdout, stderr } = await promisify(execFile)(program, args, { cwd, env, timeout: RUN_TIMEOUT_MS })
    return { code: 0, output: stdout + stderr }
  } catch (error) {
    if (!(error instanceof Error && 'stdout' in error && 'stderr' in error && 'code' in error)) throw error
    return {
      code: error.code ?? `a signal, after ${RUN_TIMEOUT_MS / 1000} s or less`,
      output: `${error.stdout}${error.stderr}`
    }
  }
}
