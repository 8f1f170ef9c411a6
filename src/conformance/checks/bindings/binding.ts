import type { Check } from '../../check.ts'
import { expectStatus } from '../../expect.ts'

const section = 'Binding'

export const bindingCreationChecks: readonly Check[] = [
  {
    id: 'bind/identical-answers-200',
    section,
    level: 'SHOULD',
    rule: '200 for a binding that exists and whose parameters are identical.',
    skip: ({ bindable }) => (bindable ? undefined : 'the plan is not bindable'),
    async run(subject) {
      const binding = await subject.sharedBinding()
      const again = await subject.putBinding(binding.instance, { id: binding.id })
      expectStatus(again, 200, 'the same bind once more')
    }
  }
]
