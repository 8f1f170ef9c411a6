import type { Rule } from '../contract.ts'
import { must } from '../violation.ts'
import { provisioned } from './instances.ts'
import { atEachStep, succeeds } from './interruptions.ts'

export const updateChecks: readonly Rule[] = [
  {
    name: 'update: once more ends in the same place',
    async run(stage) {
      const before = await stage.outside()
      const instance = await provisioned(stage)
      await succeeds('update', instance.update())
      const made = await stage.outside()
      await succeeds('update, once more to the same,', instance.update())
      await stage.expectOutside(made, 'after a second update to the same')
      await succeeds('deprovision of what was updated', instance.deprovision())
      await stage.expectOutside(before, 'after an update and a deprovision')
    }
  },
  {
    name: 'update: a crash at any step, then repeated, ends in the same place',
    async run(stage) {
      const before = await stage.outside()
      await atEachStep('crash', async (interruption, where) => {
        const instance = await provisioned(stage)
        const ended = await instance.update({ interruption })
        await succeeds(`update, repeated after ${where},`, instance.update())
        await succeeds('deprovision', instance.deprovision())
        await stage.expectOutside(before, `after ${where} in the update, a repetition and a deprovision`)
        return ended.interrupted
      })
    }
  },
  {
    name: 'update: a crash at any step, then an update back, leaves what there was',
    async run(stage) {
      await atEachStep('crash', async (interruption, where) => {
        const instance = await provisioned(stage)
        const made = await stage.outside()
        const ended = await instance.update({ interruption })
        await succeeds(`update back after ${where}`, instance.update({}, true))
        if (ended.interrupted) await stage.expectOutside(made, `after ${where} in the update and an update back`)
        await succeeds('deprovision', instance.deprovision())
        return ended.interrupted
      })
    }
  },
  {
    name: 'update: bindings made before go on working',
    async run(stage) {
      if (stage.options.provider.bind === undefined) return
      const instance = await provisioned(stage)
      const { result } = await succeeds('bind', instance.bind('before'))
      await succeeds('update', instance.update())
      must(result !== undefined, 'bind has answered nothing')
      await stage.expectWorking(result, true, 'after an update')
    }
  }
]
