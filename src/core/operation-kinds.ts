import type { OperationKind } from './store.ts'

/** Whether an operation removes its resource. */
export function isDelete({ kind }: { readonly kind: OperationKind }): boolean {
  return kind === 'deprovision' || kind === 'unbind'
}
