/** The provider breaks a rule of `docs/providers.md`; the message says which, where, and what to do. */
export class ContractViolation extends Error {
  override readonly name = 'ContractViolation'
}

/** @throws {ContractViolation} with the text unless the condition holds */
export function must(condition: boolean, otherwise: string): asserts condition {
  if (!condition) throw new ContractViolation(otherwise)
}
