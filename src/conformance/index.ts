export type { AnswerRule, Check, Level, Result, Rule } from './check.ts'
export { type ConformanceOptions, type ConformanceReport, ConformanceRun, runConformance } from './run.ts'
export { type Choice, type Target, TargetError } from './target.ts'
