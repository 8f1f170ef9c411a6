import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/**
 * The licences of the packages in these folders, one below the other: what is handed on with their code has to carry them.
 * @throws {Error} for a package that names no licence
 */
export async function noticesOf(folders: readonly string[], root: string): Promise<string> {
  const notices = await Promise.all(folders.map((folder) => noticeOf(join(root, folder))))
  return [...new Set(notices)].join(`\n${'-'.repeat(80)}\n\n`)
}

async function noticeOf(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
  if (typeof license !== 'string') throw new Error(`${name}@${version} names no licence in its package.json.`)
  const files = (await readdir(folder)).filter((file) => /^(?:licen[cs]e|copying|notice)/i.test(file)).toSorted()
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))
  return [`${name}@${version}`, `License: ${license}`, '', ...texts.map((text) => text.trim())].join('\n').concat('\n')
}
