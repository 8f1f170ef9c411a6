/**
 * The contract suite for authors of providers: what the broker relies on, tried out.
 * @module
 */
export { type ContractCheck, type ProviderContractOptions, providerContract } from './contract.ts'
export { type RegisterTest, testProvider } from './node-test.ts'
export { wrap } from './steps.ts'
export { ContractViolation } from './violation.ts'
