import type { Figure } from '../harness/figure.ts'
import { type LoadOptions, type LoadTarget, load, perProcessorSecond, perSecond, warmUp } from '../harness/load.ts'

const connections = 20
const lifecycle = { scenario: 'lifecycle', path: '/v2/service_instances', connections } as const

export const lifecycleFigure: Figure = {
  name: 'lifecycle',
  title: 'provision, bind, fetch, unbind, deprovision on memory',
  baseline: 'a bare Fastify PUT route with the same body schema that stores in a Map',
  goal: { atLeast: 0.5 },
  expected: 0.3,
  async prepare(stage) {
    const broker = await stage.broker({})
    await warmUp(broker, lifecycle)
    const bare = await stage.bare()
    const { seconds } = stage.pace
    const rate = async (target: LoadTarget, options: Omit<LoadOptions, 'seconds'>) =>
      perProcessorSecond(await load(target, { ...options, seconds }))
    return {
      unit: 'requests/s of processor',
      ours: () => rate(broker, lifecycle),
      baseline: () => rate(bare, { scenario: 'provision', path: '/map', connections })
    }
  }
}

/** Each core has a server and what puts load on it, so that two cores are enough to compare two with one. */
export const processesFigure: Figure = {
  name: 'processes',
  title: 'the same by two processes on two cores, a load on each',
  baseline: 'one process on one core, and its load',
  goal: { atLeast: 1.7 },
  expected: 1.95,
  slow: true,
  async prepare(stage) {
    const first = await stage.broker({})
    const second = await stage.broker({}, { place: 'second' })
    const { seconds } = stage.pace
    const one = () => load(first, { ...lifecycle, seconds, place: 'server' })
    const other = () => load(second, { ...lifecycle, seconds, place: 'second' })
    return {
      unit: 'requests/s',
      ours: async () => {
        const loads = (await Promise.all([one(), other()])).map(perSecond)
        return { value: loads.reduce((sum, { value }) => sum + value, 0) }
      },
      baseline: async () => ({ value: perSecond(await one()).value })
    }
  }
}
