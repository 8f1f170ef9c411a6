import type { TestContext } from 'node:test'
import type { Result } from './check.ts'
import { type ConformanceOptions, ConformanceRun } from './run.ts'

/** What {@link testConformance} needs of a test of `node:test`. */
export type TestParent = Pick<TestContext, 'test' | 'diagnostic'>

/** A MUST that failed; for the reports of test runners. */
export class ConformanceFailure extends Error {
  override readonly name = 'ConformanceFailure'
}

/**
 * Runs the kit inside a test, a subtest for each check. A MUST that fails fails its subtest; a SHOULD is told as a diagnostic,
 * or fails too with `strict`.
 * @returns all results
 * @throws {TargetError} when the catalog does not hold what was chosen
 * @example
 * test('my broker conforms', async (t) => {
 *   await testConformance(t, { transport: injectTransport(app), username: 'u', password: 'p', plan: 'small' })
 * })
 */
export async function testConformance(
  t: TestParent,
  { strict = false, ...options }: ConformanceOptions & { readonly strict?: boolean }
): Promise<readonly Result[]> {
  const run = await ConformanceRun.open(options)
  const results: Result[] = []
  const report = async ({ id }: Pick<Result, 'id'>, judge: () => Promise<Result> | Result) => {
    await t.test(id, async (subtest) => {
      const result = await judge()
      results.push(result)
      const { status, level, section, rule, detail } = result
      if (status === 'skipped') subtest.skip(detail)
      if (status !== 'failed') return
      const text = `${level} (${section}): ${rule}\n${detail}`
      if (level === 'MUST' || strict) throw new ConformanceFailure(text)
      subtest.diagnostic(text)
    })
  }
  try {
    for (const check of run.checks) await report(check, () => run.run(check))
  } finally {
    for (const result of await run.finish()) await report(result, () => result)
  }
  return results
}
