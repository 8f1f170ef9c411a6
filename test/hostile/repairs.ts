import { spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HostileScene } from './hostile-scene.ts'
import type { Journal } from './journal.ts'

/** How long the repair of all instances may take while the attacks are on. */
const REPAIR_MS = 120_000
const OSB = new URL('../../src/cli/osb.js', import.meta.url).pathname
const LOOK_MS = 200

/** Repairs all instances, as the broker does every hour, again and again with a pause between. */
export async function repairNowAndThen(
  scene: HostileScene,
  journal: Journal,
  { everyMs, goOn }: { everyMs: number; goOn: () => boolean }
): Promise<void> {
  for (;;) {
    for (const end = Date.now() + everyMs; Date.now() < end; await sleep(LOOK_MS)) if (!goOn()) return
    await journal.honestly('repair of all instances', REPAIR_MS, () => repair(scene))
  }
}

/** Findings are no failure: the attackers make them. */
async function repair({ replicas: [replica] }: HostileScene): Promise<void> {
  const child = spawn(process.execPath, [OSB, 'postgresql', 'audit', '--repair'], {
    env: replica?.environment,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: REPAIR_MS,
    killSignal: 'SIGKILL'
  })
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-2_000)
  })
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal ?? code))
  })
  if (code !== 0 && code !== 1) throw new Error(`ended with ${code}: ${errors}`)
}
