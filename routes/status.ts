import type { Outcome } from '../src/core/call.ts'

/** The status of what a create came to. */
export function createStatus({ kind }: Outcome<unknown, unknown>): 200 | 201 | 202 {
  if (kind === 'created') return 201
  return kind === 'accepted' ? 202 : 200
}

/** The status of what an update or a delete came to. */
export function changeStatus({ kind }: Outcome<unknown, unknown>): 200 | 202 {
  return kind === 'accepted' ? 202 : 200
}
