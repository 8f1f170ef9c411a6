import type { AuditEvent } from '../stores/postgres/index.ts'

const HEADINGS = ['time', 'platform', 'user', 'action', 'outcome', 'instance', 'binding', 'description']

/** Events as lines of JSON, one object each. */
export function jsonLines(page: readonly AuditEvent[]): string {
  return page.map((event) => `${harmless(JSON.stringify(event))}\n`).join('')
}

/**
 * Events as lines of text: columns that are aligned, under a heading, for people; else a tab between the fields, for
 * programs. A column that grows stays as wide as it has become.
 */
export function textLines(aligned: boolean): (page: readonly AuditEvent[]) => string {
  const widths = HEADINGS.map(() => 0)
  let first = aligned
  return (page) => {
    const rows = page.map((event) => cellsOf(event).map(harmless))
    if (first) rows.unshift(HEADINGS)
    first = false
    if (!aligned) return rows.map((cells) => `${cells.join('\t')}\n`).join('')
    for (const [index, width] of widths.entries()) {
      widths[index] = Math.max(width, ...rows.map((cells) => cells[index]?.length ?? 0))
    }
    const padded = (cells: string[]) => cells.map((cell, index) => cell.padEnd(widths[index] ?? 0)).join('  ')
    return rows.map((cells) => `${padded(cells).trimEnd()}\n`).join('')
  }
}

function cellsOf(event: AuditEvent): string[] {
  const { at, platform, action, outcome, instance_id: instance, binding_id: binding = '-' } = event
  const time = at.replace(/\.(\d{3})\d*Z$/, '.$1Z')
  return [time, platform, userOf(event), action, outcome, instance, binding, event.description ?? '-']
}

/** Who asked, by the name that the platform's profile of the specification gives, else all that it said. */
function userOf({ internal, originating_identity: identity }: AuditEvent): string {
  if (identity === undefined) return internal ? '(broker)' : '-'
  const { username, user_name: userName, user_id: userId } = identity.value
  const name = [username, userName, userId].find((value) => typeof value === 'string' && value !== '')
  return typeof name === 'string' ? name : JSON.stringify(identity.value)
}

/** Platforms choose ids and identities. No character of theirs may steer the terminal, or look like a line of ours. */
function harmless(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join('')
  )
}
