import { refusals } from './errors.ts'

/**
 * Control characters, format characters such as bidirectional marks, line separators, and characters that Unicode lists as
 * invisible (`Default_Ignorable_Code_Point`), such as Hangul fillers and variation selectors.
 * Ids appear in logs, terminals and dashboards, where these hide or reorder text.
 */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u

/**
 * Refuses an id, such as that of an instance or space, that has unprintable characters.
 * @param name of the field, for the message
 * @throws {BrokerError} 400
 */
export function requirePlainId(name: string, id: string): void {
  const [character] = UNPRINTABLE.exec(id) ?? []
  if (character === undefined) return
  const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
  throw refusals.malformed(
    `The ${name} "${escaped(id)}" has the character U+${code}. Ids must not have control, bidirectional or invisible characters.`
  )
}

function escaped(id: string): string {
  return id.replace(new RegExp(UNPRINTABLE, 'gu'), (character) => {
    return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
  })
}
