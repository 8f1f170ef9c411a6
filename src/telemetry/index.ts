export * from './meters.ts'
export * from './spans.ts'
