import { existsSync } from 'node:fs'
import { posix } from 'node:path'
import type { Section } from '../../../docs/.vitepress/pages.ts'
import type { Fault, Page } from './page.ts'

/** Relative links that lead nowhere: to no file, or to no heading of it. Addresses of others are not asked. */
export function linkFaults(pages: readonly Page[], root: string): Fault[] {
  return pages.flatMap((page) =>
    page.links.flatMap(({ line, target }) => {
      if (/^[a-z]+:/i.test(target)) return []
      const [path = '', anchor] = target.split('#')
      const message = path.startsWith('/') ? siteFault(path, pages) : fileFault({ page, path, anchor }, pages, root)
      return message === undefined ? [] : [{ page: page.path, line, message: `the link ${target} ${message}` }]
    })
  )
}

/** `/providers` is `docs/providers.md`; `/flow.svg` is in `docs/public`. */
function siteFault(path: string, pages: readonly Page[]): string | undefined {
  return pages.some((page) => page.path === `docs${path}.md`) ? undefined : 'is no page of the site'
}

function fileFault(
  { page, path, anchor }: { page: Page; path: string; anchor: string | undefined },
  pages: readonly Page[],
  root: string
): string | undefined {
  const file = path === '' ? page.path : posix.join(posix.dirname(page.path), decodeURIComponent(path))
  const target = pages.find((one) => one.path === file)
  const isThere = target !== undefined || (!file.startsWith('..') && existsSync(posix.join(root, file)))
  if (!isThere) return `leads to no file: ${file}`
  if (anchor === undefined || target === undefined || target.anchors.has(anchor)) return undefined
  return `leads to no heading of ${file}; there are ${[...target.anchors].map((one) => `#${one}`).join(', ')}`
}

/** Pages that the sidebar misses, and links of it that lead nowhere. */
export function navigationFaults(pages: readonly Page[], sections: readonly Section[]): Fault[] {
  const files = pages.map(({ path }) => path).filter((path) => path.startsWith('docs/') && path !== 'docs/index.md')
  const named = sections.flatMap(({ items }) => items.map(({ link }) => `docs${link}.md`))
  const list = 'docs/.vitepress/pages.ts'
  return [
    ...files
      .filter((file) => !named.includes(file))
      .map((page) => ({ page, line: 1, message: `${list} does not name it` })),
    ...named
      .filter((file) => !files.includes(file))
      .map((file) => ({ page: list, line: 1, message: `${file} is not there` })),
    ...named
      .filter((file, index) => named.indexOf(file) !== index)
      .map((file) => ({ page: list, line: 1, message: `it names ${file} twice` }))
  ]
}
