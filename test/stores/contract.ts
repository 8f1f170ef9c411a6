import { describe } from 'node:test'
import { ages } from './contract/ages.ts'
import { continuing } from './contract/continuing.ts'
import { delivering } from './contract/delivering.ts'
import { expiring } from './contract/expiring.ts'
import { halting } from './contract/halting.ts'
import { quotas } from './contract/quotas.ts'
import { recordsKept } from './contract/records-kept.ts'
import { starting } from './contract/starting.ts'
import { surveys } from './contract/surveys.ts'
import { undoing } from './contract/undoing.ts'
import { working } from './contract/working.ts'
import type { Open } from './records.ts'

/** The one contract of every store (src/core/store.ts). `open` gives an empty store for each test. */
export function storeContract(name: string, open: Open): void {
  describe(`${name} keeps the contract`, () => {
    recordsKept(open)
    starting(open)
    quotas(open)
    working(open)
    undoing(open)
    continuing(open)
    ages(open)
    halting(open)
    surveys(open)
    expiring(open)
    delivering(open)
  })
}
