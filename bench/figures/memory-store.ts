import type { Figure } from '../harness/figure.ts'
import { load } from '../harness/load.ts'

const connections = 20

export const lifecycleFigure: Figure = {
  name: 'lifecycle',
  title: 'provision, bind, fetch, unbind, deprovision on memory',
  baseline: 'a bare Fastify PUT route with the same body schema that stores in a Map',
  goal: { atLeast: 0.5 },
  async prepare(stage) {
    const broker = await stage.broker({})
    const bare = await stage.bare()
    const { seconds } = stage.pace
    const rate = async (order: Parameters<typeof load>[0]) => (await load(order)).requestsPerSecond
    return {
      unit: 'requests/s',
      ours: () =>
        rate({
          scenario: 'lifecycle',
          url: broker.url,
          path: '/v2/service_instances',
          headers: broker.headers,
          connections,
          seconds
        }),
      baseline: () => rate({ scenario: 'provision', url: bare.url, path: '/map', headers: {}, connections, seconds })
    }
  }
}
