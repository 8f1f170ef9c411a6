import { type ProviderContractOptions, providerContract } from './contract.ts'

/** `test` of `node:test`, or anything that takes a name and a function. */
export type RegisterTest = (name: string, run: () => Promise<void>) => unknown

/**
 * Registers a test for each rule of the contract between the broker and a provider. Tests of `node:test` run one after
 * another, as they have to here: what is outside is compared.
 * @example
 * import { test } from 'node:test'
 * testProvider(test, { provider: folderProvider(root), leftovers: () => readdir(root) })
 */
export function testProvider(test: RegisterTest, options: ProviderContractOptions): void {
  for (const { name, run } of providerContract(options)) test(`${options.provider.name}: ${name}`, run)
}
