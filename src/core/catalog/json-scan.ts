/** What may come next. The first two differ from the others in that the innermost array or object may end there. */
type State = 'first item' | 'first key' | 'item' | 'key' | 'colon' | 'comma' | 'end'

interface Open {
  isObject: boolean
  keys: Set<string>
}

/** The class in a string is every character but quote, backslash and the controls. */
const TOKEN =
  /"[ !#-[\]-\uffff]*(?:\\(?:["\\/bfnrt]|u[\da-fA-F]{4})[ !#-[\]-\uffff]*)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null|[{}[\],:]/y

/**
 * Finds the first fault of a JSON text, a duplicate key included, and where it is. `JSON.parse` knows no duplicates,
 * and V8 tells the place of some faults only.
 */
export function findJsonFault(text: string): { reason: string; index: number } | undefined {
  const open: Open[] = []
  let state: State = 'item'
  for (let index = skipSpace(text, 0); index < text.length; ) {
    TOKEN.lastIndex = index
    const token = TOKEN.exec(text)?.[0]
    const next: State | undefined = token === undefined ? undefined : advance(state, token, open)
    if (token === undefined || next === undefined) return { reason: `unexpected ${nameAt(text, index)}`, index }
    if (next === 'colon' && isDuplicate(token, open))
      return { reason: `duplicate key ${JSON.stringify(JSON.parse(token))}`, index }
    state = next
    index = skipSpace(text, index + token.length)
  }
  return state === 'end' ? undefined : { reason: 'unexpected end', index: text.length }
}

/** The state after a token, or `undefined` where the token must not stand. Keeps `open` up to date. */
function advance(state: State, token: string, open: Open[]): State | undefined {
  const closes = state === 'comma' || state === 'first item' || state === 'first key'
  if (token === '}' || token === ']') {
    if (!closes || open.at(-1)?.isObject !== (token === '}')) return undefined
    open.pop()
    return afterValue(open)
  }
  if (state === 'comma') return token === ',' ? (open.at(-1)?.isObject ? 'key' : 'item') : undefined
  if (state === 'colon') return token === ':' ? 'item' : undefined
  if (state === 'key' || state === 'first key') return token.startsWith('"') ? 'colon' : undefined
  if (state === 'end' || token === ',' || token === ':') return undefined
  if (token !== '{' && token !== '[') return afterValue(open)
  open.push({ isObject: token === '{', keys: new Set() })
  return token === '{' ? 'first key' : 'first item'
}

function afterValue(open: Open[]): State {
  return open.length === 0 ? 'end' : 'comma'
}

function isDuplicate(token: string, open: Open[]): boolean {
  const keys = open.at(-1)?.keys
  const key = String(JSON.parse(token))
  if (keys === undefined || keys.has(key)) return true
  keys.add(key)
  return false
}

function skipSpace(text: string, index: number): number {
  let end = index
  while (' \t\n\r'.includes(text.charAt(end)) && end < text.length) end += 1
  return end
}

/** An unclosed string begins with its quote, which alone would say little. */
function nameAt(text: string, index: number): string {
  return JSON.stringify(/^[\w."'-]+/.exec(text.slice(index, index + 20))?.[0] ?? text.slice(index, index + 1))
}
