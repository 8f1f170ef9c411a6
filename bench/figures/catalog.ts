import type { Figure } from '../harness/figure.ts'
import { type LoadTarget, load, perProcessorSecond, warmUp } from '../harness/load.ts'
import type { Stage } from '../harness/stage.ts'

const path = '/v2/catalog'
const connections = 20
/** A catalog of about 4.6 kB, which is what the shipped one has. */
const shipped = { BROKER_CATALOG_PATH: '', POSTGRESQL_ADMIN_URL: 'postgresql://nobody@127.0.0.1:1/postgres' }

async function sides(stage: Stage) {
  const broker = await stage.broker(shipped)
  const response = await fetch(`${broker.url}${path}`, { headers: broker.headers })
  const catalog = await response.text()
  const bare = await stage.bare({ BENCH_CATALOG: catalog })
  await warmUp(broker, { scenario: 'get', path, connections })
  const rate = async (target: LoadTarget, path: string, headers: Record<string, string> = {}) =>
    perProcessorSecond(await load(target, { scenario: 'get', path, headers, connections, seconds: stage.pace.seconds }))
  return { broker, bare, rate, etag: response.headers.get('etag') ?? '' }
}

export const catalogFigures: readonly Figure[] = [
  {
    name: 'catalog',
    title: '`GET /v2/catalog`, guards on',
    baseline: 'a bare Fastify route that returns the same object',
    goal: { atLeast: 1.2 },
    expected: 1.12,
    async prepare(stage) {
      const { broker, bare, rate } = await sides(stage)
      return {
        unit: 'requests/s of processor',
        ours: () => rate(broker, path),
        baseline: () => rate(bare, '/catalog')
      }
    }
  },
  {
    name: 'catalog-304',
    title: '`GET /v2/catalog` with `If-None-Match`',
    baseline: 'the same without',
    goal: { atLeast: 1.2 },
    expected: 1.13,
    slow: true,
    async prepare(stage) {
      const { broker, rate, etag } = await sides(stage)
      return {
        unit: 'requests/s of processor',
        ours: () => rate(broker, path, { 'if-none-match': etag }),
        baseline: () => rate(broker, path)
      }
    }
  }
]
