import type { Bound } from '../../core/provider.ts'
import type { Rule } from '../contract.ts'
import type { StagedInstance } from '../stage.ts'
import { must } from '../violation.ts'
import { provisioned } from './instances.ts'
import { atEachStep, expectThrown, succeeds } from './interruptions.ts'

async function bound(instance: StagedInstance, id: string, predecessor?: string): Promise<Bound> {
  const { result } = await succeeds('bind', instance.bind(id, {}, predecessor))
  must(result !== undefined, 'bind has answered nothing')
  return result
}

export const bindingChecks: readonly Rule[] = [
  {
    name: 'bind: its credentials work, and no longer after the unbind',
    async run(stage) {
      const instance = await provisioned(stage)
      const before = await stage.outside()
      const binding = await bound(instance, 'b-1')
      await stage.expectWorking(binding, true, 'after a bind')
      await succeeds('unbind', instance.unbind('b-1'))
      await stage.expectWorking(binding, false, 'after an unbind')
      await stage.expectOutside(before, 'after an unbind')
    }
  },
  {
    name: 'bind: once more with the saved state leaves credentials that work, and one unbind revokes all',
    async run(stage) {
      const instance = await provisioned(stage)
      const before = await stage.outside()
      const first = await bound(instance, 'b-1')
      const second = await bound(instance, 'b-1')
      await stage.expectWorking(second, true, 'after a second attempt at the same bind')
      await succeeds('unbind', instance.unbind('b-1'))
      await stage.expectOutside(before, 'after two attempts at a bind and one unbind')
      await stage.expectWorking(first, false, 'those of the first attempt: after the unbind')
      await stage.expectWorking(second, false, 'after the unbind')
    }
  },
  {
    name: 'bind: a crash at any step, then repeated, ends in the same place',
    async run(stage) {
      const instance = await provisioned(stage)
      const before = await stage.outside()
      await atEachStep('crash', async (interruption, where) => {
        const ended = await instance.bind('b-1', { interruption })
        expectThrown(ended, where)
        if (!instance.hasState('b-1')) await stage.expectOutside(before, `after ${where}, with no state saved`)
        await stage.expectWorking(await bound(instance, 'b-1'), true, `after ${where} in the bind and a repetition`)
        await succeeds('unbind', instance.unbind('b-1'))
        await stage.expectOutside(before, `after ${where} in the bind, a repetition and an unbind`)
        return ended.interrupted
      })
    }
  },
  {
    name: 'bind: a crash or an abort at any step, then an unbind, leaves nothing',
    async run(stage) {
      const instance = await provisioned(stage)
      const before = await stage.outside()
      for (const how of ['crash', 'abort'] as const) {
        await atEachStep(how, async (interruption, where) => {
          const ended = await instance.bind('b-1', { interruption })
          await succeeds(`unbind after ${where} in the bind`, instance.unbind('b-1'))
          await stage.expectOutside(before, `after ${where} in the bind and an unbind`)
          return ended.interrupted
        })
      }
    }
  },
  {
    name: 'unbind: of what was never made succeeds',
    async run(stage) {
      const instance = await provisioned(stage)
      const before = await stage.outside()
      await succeeds('unbind without a state', instance.unbind('never'))
      await succeeds('unbind without a state and a plan', instance.unbind('never', { withoutPlan: true }))
      await stage.expectOutside(before, 'after an unbind of what was never made')
    }
  },
  {
    name: 'unbind: once more succeeds; it does not need offering, plan and options',
    async run(stage) {
      const instance = await provisioned(stage)
      const before = await stage.outside()
      await bound(instance, 'b-1')
      const again = instance.repeatable('b-1')
      await succeeds('unbind without offering and plan', instance.unbind('b-1', { withoutPlan: true }))
      await stage.expectOutside(before, 'after an unbind without offering and plan')
      again()
      await succeeds('unbind, once more with the same state,', instance.unbind('b-1'))
    }
  },
  {
    name: 'unbind: a crash at any step, then repeated, leaves nothing',
    async run(stage) {
      const instance = await provisioned(stage)
      const before = await stage.outside()
      await atEachStep('crash', async (interruption, where) => {
        const binding = await bound(instance, 'b-1')
        const ended = await instance.unbind('b-1', { interruption })
        await succeeds(`unbind, repeated after ${where},`, instance.unbind('b-1'))
        await stage.expectOutside(before, `after ${where} in the unbind and a repetition`)
        await stage.expectWorking(binding, false, `after ${where} in the unbind and a repetition`)
        return ended.interrupted
      })
    }
  },
  {
    name: 'bindings: do not touch each other',
    async run(stage) {
      const instance = await provisioned(stage)
      const first = await bound(instance, 'b-1')
      const alone = await stage.outside()
      await bound(instance, 'b-2')
      await succeeds('unbind', instance.unbind('b-2'))
      await stage.expectOutside(alone, 'after the unbind of another binding')
      await stage.expectWorking(first, true, 'after the unbind of another binding')
    }
  },
  {
    name: 'bind: a successor and its predecessor both work',
    async run(stage) {
      const instance = await provisioned(stage)
      const old = await bound(instance, 'old')
      const successor = await bound(instance, 'new', 'old')
      await stage.expectWorking(old, true, 'those of the predecessor: after the rotation')
      await stage.expectWorking(successor, true, 'after the rotation')
      await succeeds('unbind of the predecessor', instance.unbind('old'))
      await stage.expectWorking(successor, true, 'after the unbind of the predecessor')
    }
  }
]
