import assert from 'node:assert/strict'
import { test } from 'node:test'
import { stripVTControlCharacters } from 'node:util'
import type { Result } from '../../src/conformance/index.ts'
import { junit, resultLine, summary } from '../../src/conformance/index.ts'

const result = (more: Partial<Result>): Result => ({
  id: 'provision/a',
  section: 'Provisioning',
  level: 'MUST',
  rule: 'It does.',
  status: 'passed',
  detail: '',
  durationMs: 1_500,
  ...more
})

const results = [
  result({}),
  result({ id: 'provision/b', status: 'failed', detail: 'expected 201, got 200\nPUT /x → 200 {"a":"<&>\u0001"}' }),
  result({ id: 'bind/c', section: 'Binding', level: 'SHOULD', status: 'failed', detail: 'not unique' }),
  result({ id: 'bind/d', section: 'Binding', status: 'skipped', detail: 'the plan is not bindable' })
]

test('resultLine: a failed check says what the rule is and what was seen', () => {
  assert.deepEqual(results.map(resultLine).map(stripVTControlCharacters), [
    '✔ provision/a\n',
    '✖ provision/b\n    MUST (Provisioning): It does.\n    expected 201, got 200\n    PUT /x → 200 {"a":"<&>\u0001"}\n',
    '! bind/c\n    SHOULD (Binding): It does.\n    not unique\n',
    '- bind/d: the plan is not bindable\n'
  ])
})

test('summary: counts by section, and the verdict rests on the MUSTs', () => {
  const text = stripVTControlCharacters(summary(results))
  assert.match(text, /^Provisioning {2}1 passed, 1 MUST failed$/m)
  assert.match(text, /^Binding {7}0 passed, 1 SHOULD failed, 1 skipped$/m)
  assert.match(text, /4 checks: 1 passed, 1 MUST failed, 1 SHOULD failed, 1 skipped\. The broker does not conform\.\n$/)
  const conforming = results.filter(({ id }) => id !== 'provision/b')
  assert.match(stripVTControlCharacters(summary(conforming)), /0 MUST failed.* The broker conforms\.\n$/)
})

test('junit: a suite for each section, failures of MUSTs alone, and what XML cannot hold is replaced', () => {
  assert.equal(
    junit(results),
    `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="osb conformance">
  <testsuite name="Provisioning" tests="2" failures="1" skipped="0" time="3.000">
    <testcase name="provision/a" classname="Provisioning" time="1.500"/>
    <testcase name="provision/b" classname="Provisioning" time="1.500"><failure message="MUST: It does.">expected 201, got 200
PUT /x → 200 {&quot;a&quot;:&quot;&lt;&amp;&gt;\uFFFD&quot;}</failure></testcase>
  </testsuite>
  <testsuite name="Binding" tests="2" failures="0" skipped="1" time="3.000">
    <testcase name="bind/c" classname="Binding" time="1.500"><system-out>SHOULD: It does.
not unique</system-out></testcase>
    <testcase name="bind/d" classname="Binding" time="1.500"><skipped message="the plan is not bindable"/></testcase>
  </testsuite>
</testsuites>
`
  )
})
