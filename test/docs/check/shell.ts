/** One command of a script: its words, without assignments before it and redirections. */
export interface Command {
  /** From 0, within the script. */
  readonly line: number
  readonly words: readonly string[]
}

const WORD = String.raw`(?:'[^']*'|"(?:\\.|\$\([^)]*\)|[^"\\])*"|\$\([^)]*\)|\\[^\n]|[^\s'"|;&<>\\])+`
const TOKEN = new RegExp(
  [
    String.raw`(?<separator>&&|\|\||[|;&\n])`,
    String.raw`(?<space>(?:[ \t]|\\\n)+)`,
    String.raw`(?<comment>#[^\n]*)`,
    String.raw`(?<redirection>\d*[<>]+[ \t]*&?${WORD})`,
    `(?<word>${WORD})`
  ].join('|'),
  'g'
)

/**
 * The commands of a shell script, those within `$(…)` included. It knows quotes, comments, pipes, lists, redirections,
 * here-documents and continued lines, which is all that documentation needs.
 */
export function commandsIn(script: string): Command[] {
  const found: Command[] = []
  let line = 0
  let words: string[] = []
  const end = () => {
    if (words.length > 0) found.push({ line, words })
    words = []
  }
  for (const { 0: token, groups = {} } of withoutHereDocuments(script).matchAll(TOKEN)) {
    const { separator, word } = groups
    if (separator !== undefined) end()
    if (word !== undefined) {
      found.push(...within(word, line))
      if (words.length > 0 || !/^[A-Za-z_]\w*=/.test(word)) words.push(unquoted(word))
    }
    line += token.split('\n').length - 1
  }
  end()
  return found
}

/** Commands in `$(…)`; single quotes keep a shell from running any. */
function within(word: string, line: number): Command[] {
  const open = word.replace(/^'[^']*'$/, '')
  return [...open.matchAll(/\$\(([^)]*)\)/g)].flatMap(([, inner = '']) =>
    commandsIn(inner).map((command) => ({ ...command, line: line + command.line }))
  )
}

/** Their lines stay, empty. */
function withoutHereDocuments(script: string): string {
  let end: string | undefined
  const lines = script.split('\n').map((line) => {
    if (end !== undefined) {
      if (line === end) end = undefined
      return ''
    }
    const [redirection = '', , word] = /<<-?\s*(['"]?)(\w+)\1/.exec(line) ?? []
    end = word
    return line.replace(redirection, '')
  })
  return lines.join('\n')
}

function unquoted(word: string): string {
  return word.replace(/'([^']*)'|"((?:\\.|[^"\\])*)"/g, (_all, single, double) => single ?? double ?? '')
}
