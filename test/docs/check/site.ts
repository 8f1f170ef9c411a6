import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Fault } from './page.ts'

const BUILD_TIMEOUT_MS = 120_000

/** Builds the site into the folder; a link that leads nowhere, or a page that cannot be rendered, is a fault. */
export async function siteFaults(root: string, folder: string): Promise<Fault[]> {
  const args = ['build', 'docs', '--outDir', folder]
  try {
    await promisify(execFile)(join(root, 'node_modules/.bin/vitepress'), args, { cwd: root, timeout: BUILD_TIMEOUT_MS })
    return []
  } catch (error) {
    if (!(error instanceof Error && 'stdout' in error && 'stderr' in error)) throw error
    return [{ page: 'docs', line: 1, message: `the site cannot be built:\n${error.stdout}${error.stderr}` }]
  }
}
