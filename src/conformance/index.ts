/**
 * The conformance kit: checks for what the Open Service Broker API v2.17 demands of a broker, in any language.
 * @module
 */
export { httpTransport, injectTransport, type Transport } from '../client/transport.ts'
export type { AnswerRule, Check, Level, Result, Rule } from './check.ts'
export { ConformanceFailure, type TestParent, testConformance } from './node-test.ts'
export { junit } from './report/junit.ts'
export { resultLine, summary } from './report/lines.ts'
export { type ConformanceOptions, type ConformanceReport, ConformanceRun, runConformance } from './run.ts'
export { type Choice, type Target, TargetError, UnreadableCatalog } from './target.ts'
