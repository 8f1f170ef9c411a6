import type { Block, Fault } from './page.ts'

/**
 * How a block is checked. Its fence says it: the language has a check of its own, and a word behind it asks for more, or,
 * with `shape` and `unchecked`, for less.
 */
export type Class =
  /** `ts`, `js`: checked against the types of the package; `ts NAME.ts`: other blocks of the page may import it. */
  | 'typed'
  /** `ts runnable`: also run to its end. */
  | 'run'
  /** `sh`, `console`: the commands, sub-commands, options and scripts exist. */
  | 'commands'
  /** `sh walk`: run against a broker with an embedded server, all of a page in one shell. */
  | 'walk'
  /** `sh shape`: for programs of others; their sub-commands are known. */
  | 'shape'
  /** `yaml catalog`, `json catalog`: without errors by `osb lint`. */
  | 'catalog'
  /** `yaml`, `json`: can be parsed. */
  | 'parsed'
  /** `sql`: executed on the embedded server, and rolled back. */
  | 'sql'
  /** `text`, or any language with `unchecked`: shown as it stands. */
  | 'unchecked'

const CLASSES: Readonly<Record<string, Readonly<Record<string, Class>>>> = {
  ts: { '': 'typed', runnable: 'run' },
  js: { '': 'typed', runnable: 'run' },
  sh: { '': 'commands', walk: 'walk', shape: 'shape' },
  console: { '': 'commands' },
  yaml: { '': 'parsed', catalog: 'catalog' },
  json: { '': 'parsed', catalog: 'catalog' },
  sql: { '': 'sql' },
  text: { '': 'unchecked' }
}

/** The name that other blocks of the page know a block by. */
export function fileNameOf({ words }: Block): string | undefined {
  return words.find((word) => /^[\w-]+\.(ts|js|yaml|json)$/.test(word))
}

/** How the block is to be checked, or what is wrong with its fence. */
export function classOf(block: Block): Class | Fault {
  const { language, words } = block
  const fault = (message: string) => ({ page: block.page, line: block.line - 1, message })
  if (language === '') return fault('the fence names no language; `text` is for what is only to be shown')
  const name = fileNameOf(block)
  const [word = '', ...more] = words.filter((one) => one !== name)
  if (word === 'unchecked' && more.length === 0) return 'unchecked'
  const classes = Object.hasOwn(CLASSES, language) ? CLASSES[language] : undefined
  const found = classes !== undefined && Object.hasOwn(classes, word) ? classes[word] : undefined
  if (found !== undefined && more.length === 0) return found
  const known = Object.entries(CLASSES).flatMap(([key, entries]) =>
    Object.keys(entries).map((kind) => `${key} ${kind}`.trim())
  )
  return fault(`"${[language, ...words].join(' ')}" is no class: use one of ${known.join(', ')}, or LANGUAGE unchecked`)
}
