import assert from 'node:assert/strict'
import { type TaskLog, Unavailable } from '../../../src/core/provider.ts'
import type { Call, Instance } from './support.ts'

/** What users are told. */
export const told = {
  unreachable: 'The database server cannot be reached at the moment.',
  busy: 'The database server is busy with concurrent changes.',
  full: 'The database server or the database has no free connection.',
  locked: 'An open transaction holds a lock on the database.',
  exhausted: 'The database server is out of disk space or memory.',
  refused: 'The broker cannot log in to the database server. Its operator has to look into it.',
  forbidden: 'The broker lacks a right on the database server. Its operator has to look into it.',
  untrusted: 'The broker has no secure connection to the database server. Its operator has to look into it.',
  readOnly: 'The database server is a standby and takes no changes. Its operator has to look into it.',
  broken: 'The database server reports an internal error. Its operator has to look into it.',
  rejecting: 'The database server rejects a change of the broker. Its operator has to look into it.'
}

/** A line of a task's log. */
export interface Line {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly fields: object
  readonly message: string | undefined
}

/** A log that is kept. */
export function keptLog(): { log: TaskLog; lines: Line[] } {
  const lines: Line[] = []
  const keep = (level: Line['level']) => (fields: object, message?: string) =>
    void lines.push({ level, fields, message })
  return { log: { debug: keep('debug'), info: keep('info'), warn: keep('warn'), error: keep('error') }, lines }
}

/** SQLSTATEs and codes of the system that a log tells of. */
export function codesOf(lines: readonly Line[]): unknown[] {
  return lines.flatMap(({ fields }) => ('code' in fields ? [fields.code] : []))
}

/** Alarms: somebody has to act. */
export function alarmsOf(lines: readonly Line[]): Line[] {
  return lines.filter(({ level }) => level === 'error')
}

/**
 * The work fails as passing, so that the framework goes on trying (in progress, or 503), with this description for the
 * user; neither it nor the log gives a secret away.
 */
export async function assertUnavailable(
  { instance, adminUrl }: { instance: Instance; adminUrl: string },
  description: string,
  work: (call: Call) => Promise<unknown>
): Promise<Line[]> {
  const { log, lines } = keptLog()
  const error = await work({ log }).then(
    () => undefined,
    (reason: unknown) => reason
  )
  assert.ok(error instanceof Unavailable, `It did not fail as passing: ${error}`)
  assert.equal(error.message, description)
  assert.ok(lines.length > 0, 'nothing was logged')
  assertDiscreet([error.message, lines], { instance, adminUrl })
  return lines
}

/** Neither the admin's URL and password nor those of bindings are in what is said. */
export function assertDiscreet(said: unknown, { instance, adminUrl }: { instance: Instance; adminUrl: string }): void {
  const text = JSON.stringify(said)
  const { password, host } = new URL(adminUrl)
  const secrets = [adminUrl, `@${host}`, password, ...[...instance.states.values()].map((state) => state.verifier)]
  for (const secret of secrets) {
    if (typeof secret !== 'string' || secret === '') continue
    // Whole words: a password of a test may be part of a login's name
    const pattern = new RegExp(`(?<!\\w)${secret.replaceAll(/[^\w]/g, '\\$&')}(?!\\w)`)
    assert.doesNotMatch(text, pattern)
  }
}

const FRAMEWORK_TRIES = 20

/** Repeats what fails as passing, as the framework does; answers how often it failed. Anything else is thrown. */
export async function untilDone(
  { instance, adminUrl }: { instance: Instance; adminUrl: string },
  work: (call: Call) => Promise<unknown>
): Promise<Line[]> {
  const { log, lines } = keptLog()
  for (let tries = 1; ; tries++) {
    try {
      await work({ log })
      assertDiscreet(lines, { instance, adminUrl })
      return lines
    } catch (error) {
      if (!(error instanceof Unavailable) || tries === FRAMEWORK_TRIES) throw error
      assertDiscreet(error.message, { instance, adminUrl })
    }
  }
}
