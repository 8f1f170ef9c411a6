import type { Exchange } from './exchange.ts'
import type { Subject } from './subject.ts'
import type { Target } from './target.ts'

/** How strictly the specification asks for it (RFC 2119). What only platforms demand counts as SHOULD. */
export type Level = 'MUST' | 'SHOULD'

/** What every check says of itself. */
export interface Rule {
  /** Kebab-case, with the endpoint first: `provision/identical-answers-200`. */
  readonly id: string
  /** Heading of the specification, `Provisioning`; `Platforms` for what real platforms demand beyond it. */
  readonly section: string
  readonly level: Level
  /** What the specification says, in one sentence. */
  readonly rule: string
}

/** Something that a broker must do, tried out. */
export interface Check extends Rule {
  /** Why the check does not apply to what the catalog declares; `undefined` when it does. */
  readonly skip?: (target: Target) => string | undefined
  /** Resolves when the broker keeps the rule. Throws {@link Violation} when not, {@link NotApplicable} when that shows late. */
  run(subject: Subject): Promise<void>
}

/** Something that must hold for every answer of the whole run. */
export interface AnswerRule extends Rule {
  /** Whether the rule says anything about this answer. */
  concerns(exchange: Exchange): boolean
  /** What is wrong with the answer; `undefined` when nothing is. */
  fault(exchange: Exchange): string | undefined
}

/** The outcome of one check. */
export interface Result extends Rule {
  readonly status: 'passed' | 'failed' | 'skipped'
  /** What was seen: the fault with the exchanges before it, or why it was skipped. Empty when passed. */
  readonly detail: string
  readonly durationMs: number
}

/** The broker breaks the rule; the message says what was expected and what came. */
export class Violation extends Error {
  override readonly name = 'Violation'
}

/** The rule does not apply to this broker, which showed only while it was tried. */
export class NotApplicable extends Error {
  override readonly name = 'NotApplicable'
}
