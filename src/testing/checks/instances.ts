import type { Rule } from '../contract.ts'
import type { Stage, StagedInstance } from '../stage.ts'
import { must } from '../violation.ts'
import { atEachStep, expectThrown, succeeds } from './interruptions.ts'

/** A provision, as what comes before the point of a check. */
export async function provisioned(stage: Stage): Promise<StagedInstance> {
  const instance = stage.instance()
  await succeeds('provision', instance.provision())
  return instance
}

/** Nothing is made before the state that leads to it is saved: else no delete could find it. */
async function expectKept(stage: Stage, instance: StagedInstance, where: string, before: readonly string[]) {
  if (!instance.hasState()) await stage.expectOutside(before, `after ${where}, with no state saved`)
}

export const instanceChecks: readonly Rule[] = [
  {
    name: 'provision: once more ends in the same place',
    async run(stage) {
      const instance = await provisioned(stage)
      const made = await stage.outside()
      await succeeds('provision, once more with the same ids,', instance.provision())
      await stage.expectOutside(made, 'after a second provision of the same instance')
    }
  },
  {
    name: 'provision: nothing is made before a state is saved',
    async run(stage) {
      const before = await stage.outside()
      await atEachStep('crash', async (interruption, where) => {
        const instance = stage.instance()
        const ended = await instance.provision({ interruption })
        await expectKept(stage, instance, where, before)
        await instance.clear()
        return ended.interrupted
      })
      const instance = await provisioned(stage)
      const made = (await stage.outside()).length > before.length
      must(
        !made || instance.hasState(),
        'a provision has made something outside and saved no state: call task.saveState first'
      )
    }
  },
  {
    name: 'provision: a crash at any step, then repeated, ends in the same place',
    async run(stage) {
      const before = await stage.outside()
      const { length } = await madeBy(stage)
      await atEachStep('crash', async (interruption, where) => {
        const instance = stage.instance()
        const ended = await instance.provision({ interruption })
        expectThrown(ended, where)
        await succeeds(`provision, repeated after ${where},`, instance.provision())
        const made = (await stage.outside()).length - before.length
        must(
          made === length,
          `provision, repeated after ${where}, has made ${made} things outside instead of ${length}`
        )
        await succeeds('deprovision', instance.deprovision())
        await stage.expectOutside(before, `after ${where}, a repetition and a deprovision`)
        return ended.interrupted
      })
    }
  },
  {
    name: 'provision: a crash at any step, then a delete, leaves nothing',
    async run(stage) {
      const before = await stage.outside()
      await atEachStep('crash', async (interruption, where) => {
        const instance = stage.instance()
        const ended = await instance.provision({ interruption })
        await succeeds(`deprovision after ${where} in the provision`, instance.deprovision())
        await stage.expectOutside(before, `after ${where} and a deprovision`)
        return ended.interrupted
      })
    }
  },
  {
    name: 'provision: an abort at any step ends it in time, and a delete leaves nothing',
    async run(stage) {
      const before = await stage.outside()
      await atEachStep('abort', async (interruption, where) => {
        const instance = stage.instance()
        const ended = await instance.provision({ interruption })
        await succeeds(`deprovision after ${where} in the provision`, instance.deprovision())
        await stage.expectOutside(before, `after ${where} and a deprovision`)
        return ended.interrupted
      })
    }
  },
  {
    name: 'deprovision: of what was never made succeeds',
    async run(stage) {
      const before = await stage.outside()
      await succeeds('deprovision without a state', stage.instance().deprovision())
      await succeeds('deprovision without a state and a plan', stage.instance().deprovision({ withoutPlan: true }))
      await stage.expectOutside(before, 'after a deprovision of what was never made')
    }
  },
  {
    name: 'deprovision: once more succeeds, and nothing is left',
    async run(stage) {
      const before = await stage.outside()
      const instance = await provisioned(stage)
      const again = instance.repeatable()
      await succeeds('deprovision', instance.deprovision())
      await stage.expectOutside(before, 'after a deprovision')
      again()
      await succeeds('deprovision, once more with the same state,', instance.deprovision())
      await stage.expectOutside(before, 'after a second deprovision')
    }
  },
  {
    name: 'deprovision: a crash at any step, then repeated, leaves nothing',
    async run(stage) {
      const before = await stage.outside()
      await atEachStep('crash', async (interruption, where) => {
        const instance = await provisioned(stage)
        const ended = await instance.deprovision({ interruption })
        await succeeds(`deprovision, repeated after ${where},`, instance.deprovision())
        await stage.expectOutside(before, `after ${where} in the deprovision and a repetition`)
        return ended.interrupted
      })
    }
  },
  {
    name: 'deprovision: does not need offering, plan and options',
    async run(stage) {
      const before = await stage.outside()
      const instance = await provisioned(stage)
      await succeeds('deprovision without offering and plan', instance.deprovision({ withoutPlan: true }))
      await stage.expectOutside(before, 'after a deprovision without offering and plan')
    }
  },
  {
    name: 'ids: may come again after a deprovision',
    async run(stage) {
      const before = await stage.outside()
      const { id } = await provisioned(stage)
      await stage.clear()
      const again = stage.instance(id)
      await succeeds('provision of an id that was deprovisioned', again.provision())
      await succeeds('deprovision', again.deprovision())
      await stage.expectOutside(before, 'after the second life of an id')
    }
  },
  {
    name: 'instances: do not touch each other',
    async run(stage) {
      const first = await provisioned(stage)
      const alone = await stage.outside()
      const second = await provisioned(stage)
      await succeeds('deprovision', second.deprovision())
      await stage.expectOutside(alone, 'after the deprovision of another instance')
      await succeeds('deprovision', first.deprovision())
    }
  }
]

/** What a provision makes outside. */
async function madeBy(stage: Stage): Promise<readonly string[]> {
  const before = await stage.outside()
  const instance = await provisioned(stage)
  const made = (await stage.outside()).filter((name) => !before.includes(name))
  await succeeds('deprovision', instance.deprovision())
  return made
}
