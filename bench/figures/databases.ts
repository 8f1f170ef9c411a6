import { randomUUID } from 'node:crypto'
import type { Figure } from '../harness/figure.ts'
import { recordStatements, replay } from '../harness/recording.ts'
import type { Sample } from '../harness/rounds.ts'
import type { BrokerTarget, Stage } from '../harness/stage.ts'

/** `postgres`/`free` of the shipped catalog. */
const plan = {
  service_id: '8f1f8a8e-3f0c-4d2a-9a55-0f6f6f1c7d01',
  plan_id: '5b0f3c52-6a8e-4f6b-b8a4-2f9d5e3a7c11'
}

/** Real databases: what of the time is PostgreSQL's own. */
function provisionOf(
  figure: Pick<Figure, 'name' | 'title' | 'baseline' | 'goal' | 'expected' | 'slow'>,
  width: number
): Figure {
  return {
    ...figure,
    async prepare(stage) {
      const { adminUrl } = await stage.postgres()
      const broker = await realBroker(stage)
      const recording = await recordStatements(adminUrl)
      const rounds = stage.pace.short ? 4 : 20
      return {
        unit: width === 1 ? 'ms' : 'databases/s',
        ours: () => measured(() => provision(broker), rounds, width),
        baseline: () => measured(() => replay(recording, adminUrl), rounds, width)
      }
    }
  }
}

export const databaseFigures: readonly Figure[] = [
  provisionOf(
    {
      name: 'database',
      title: 'provision a real database, one at a time',
      baseline: 'the same SQL statements run by hand on the same server',
      goal: { atMost: 1.25 },
      expected: 1.17
    },
    1
  ),
  provisionOf(
    {
      name: 'databases-10',
      title: '10 real provisions at once',
      baseline: 'raw SQL, 10 at once',
      goal: { atLeast: 0.9 },
      expected: 0.94,
      slow: true
    },
    10
  )
]

/** One at a time: milliseconds for each. Several: how many a second. */
async function measured(make: () => Promise<void>, rounds: number, width: number): Promise<Sample> {
  const count = rounds * width
  const begin = performance.now()
  let left = count
  const worker = async () => {
    while (left > 0) {
      left -= 1
      await make()
    }
  }
  await Promise.all(Array.from({ length: width }, worker))
  const elapsed = performance.now() - begin
  return { value: width === 1 ? elapsed / count : (count * 1_000) / elapsed }
}

async function realBroker(stage: Stage): Promise<BrokerTarget> {
  const { adminUrl } = await stage.postgres()
  return stage.broker({
    BROKER_STORAGE: 'postgres',
    DATABASE_URL: await stage.database('bench_state'),
    POSTGRESQL_ADMIN_URL: adminUrl,
    BROKER_CATALOG_PATH: ''
  })
}

async function provision({ url, headers }: BrokerTarget): Promise<void> {
  const reply = await fetch(`${url}/v2/service_instances/${randomUUID()}`, {
    method: 'PUT',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({ ...plan, organization_guid: 'org', space_guid: 'space' })
  })
  if (reply.status !== 201) throw new Error(`a provision was answered ${reply.status}: ${await reply.text()}`)
  await reply.arrayBuffer()
}
