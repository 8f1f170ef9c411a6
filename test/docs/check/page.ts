import { slugify } from '../../../docs/.vitepress/slug.ts'

/** What is wrong, and where. */
export interface Fault {
  readonly page: string
  readonly line: number
  readonly message: string
}

/** A fenced block of code. */
export interface Block {
  readonly page: string
  /** Of the first line within the fence. */
  readonly line: number
  readonly language: string
  /** What the fence says behind the language: how the block is to be checked. */
  readonly words: readonly string[]
  readonly text: string
}

/** A link out of the text of a page. */
export interface Link {
  readonly line: number
  readonly target: string
}

/** A Markdown file, taken apart. */
export interface Page {
  /** From the root of the repository on. */
  readonly path: string
  readonly blocks: readonly Block[]
  readonly links: readonly Link[]
  readonly anchors: ReadonlySet<string>
  /** The lines outside of fences, with their numbers. */
  readonly prose: readonly (readonly [line: number, text: string])[]
}

/** Takes a Markdown file apart. A fence that is not closed ends with the file, as in Markdown. */
export function readPage(path: string, source: string): Page {
  const blocks: Block[] = []
  const prose: [number, string][] = []
  const lines = source.split('\n')
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] ?? ''
    const [, indent = '', fence, info = ''] = /^(\s*)(`{3,}|~{3,})(.*)$/.exec(line) ?? []
    if (fence === undefined) {
      prose.push([index + 1, line])
      continue
    }
    const end = lines.findIndex((text, at) => at > index && text.trim() === fence)
    const last = end === -1 ? lines.length : end
    const [language = '', ...words] = info.trim().split(/\s+/)
    const text = lines.slice(index + 1, last).map((content) => content.replace(indent, ''))
    blocks.push({ page: path, line: index + 2, language, words, text: text.join('\n') })
    index = last
  }
  return { path, blocks, prose, links: linksIn(prose), anchors: anchorsIn(prose) }
}

function linksIn(prose: Page['prose']): Link[] {
  return prose.flatMap(([line, text]) => {
    const plain = text.replace(/`[^`]*`/g, (code) => 'x'.repeat(code.length))
    const inline = [...plain.matchAll(/\]\(([^)\s]+)[^)]*\)/g), ...plain.matchAll(/\b(?:src|srcset|href)="([^"]+)"/g)]
    return inline.map(([, target = '']) => ({ line, target }))
  })
}

/** Two headings of one text get two anchors: `options`, `options-1`. */
function anchorsIn(prose: Page['prose']): Set<string> {
  const anchors = new Set<string>()
  for (const [, text] of prose) {
    const heading = /^#{1,6}\s+(.+)$/.exec(text)?.[1]
    if (heading === undefined) continue
    const slug = slugify(heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1'))
    let anchor = slug
    for (let count = 1; anchors.has(anchor); count += 1) anchor = `${slug}-${count}`
    anchors.add(anchor)
  }
  return anchors
}
