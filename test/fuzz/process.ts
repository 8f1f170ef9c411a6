import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { credentials } from '../helper/app.ts'
import { osb, type Program, plainEnvironment, until, type Variables, watch } from '../server/broker-process.ts'
import { fuzzCatalog } from './catalog.ts'
import { collectGarbage, type Debugger, openDebugger } from './debugger.ts'

/** A broker in a process of its own, watched from outside. */
export interface BrokerProcess {
  readonly url: string
  /** Bytes that are in use once all garbage is collected. */
  memory(): Promise<number>
  /** Open file descriptors; undefined where the system does not tell. */
  descriptors(): number | undefined
  /** What of the log says that something went wrong, until now. */
  complaints(): string[]
  /** Ends it as an operator does; what is wrong with how it ended. */
  stop(): Promise<string[]>
}

const ERROR_LEVEL = 50

export interface BrokerProcessOptions {
  readonly variables: Variables
  /** How long work that lasts goes on. */
  readonly slowMs: number
  readonly nodeOptions?: readonly string[]
}

/** `osb serve`, with the debugger open. */
export async function openBrokerProcess({
  variables,
  slowMs,
  nodeOptions = []
}: BrokerProcessOptions): Promise<BrokerProcess> {
  const folder = await mkdtemp(join(tmpdir(), 'osb-fuzz-'))
  const catalog = join(folder, 'catalog.json')
  await writeFile(catalog, JSON.stringify(fuzzCatalog(slowMs)))
  const child = spawn(process.execPath, ['--inspect=127.0.0.1:0', ...nodeOptions, osb, 'serve'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...plainEnvironment(),
      BROKER_PORT: '0',
      BROKER_CATALOG_PATH: catalog,
      BROKER_USERNAME: credentials.username,
      BROKER_PASSWORD: credentials.password,
      BROKER_ENCRYPTION_KEYS: `fuzz:${randomBytes(32).toString('base64')}`,
      LOG_LEVEL: 'warn',
      ...variables
    }
  })
  const program = watch(child)
  const url = await until('the broker listens', () => {
    if (!program.running) throw new Error(`the broker ended: ${program.stdout}${program.stderr}`)
    return /listens on (\S+) /.exec(program.stdout)?.[1]
  })
  const inspector = await openDebugger(/ws:\/\/\S+/.exec(program.stderr)?.[0] ?? '')
  return {
    url,
    memory: () => collectGarbage(inspector),
    descriptors: () => descriptorsOf(program.pid),
    complaints: () => complaintsOf(program),
    stop: async () => {
      const complaints = await ended(program, inspector)
      await rm(folder, { recursive: true, force: true })
      return complaints
    }
  }
}

async function ended(program: Program, inspector: Debugger): Promise<string[]> {
  const alive = program.running
  inspector.close()
  program.child.kill('SIGTERM')
  const { code, signal } = await program.ended
  if (!alive) return [`the process ended by itself (${code ?? signal}): ${program.stderr.slice(-2_000)}`]
  return code === 0 ? complaintsOf(program) : [...complaintsOf(program), `the process ended with ${code ?? signal}`]
}

function descriptorsOf(pid: number): number | undefined {
  const folder = `/proc/${pid}/fd`
  return existsSync(folder) ? readdirSync(folder).length : undefined
}

/** Errors of the log, load that was shed, and anything on stderr but the greetings of the debugger. */
function complaintsOf({ stdout, stderr }: Program): string[] {
  const logged = stdout
    .replace(/[^\n]*$/, '')
    .split('\n')
    .filter((line) => line.startsWith('{') && isComplaint(JSON.parse(line)))
  const said = stderr
    .split('\n')
    .filter((line) => line !== '' && !/^Debugger |^For help, see: |^Waiting for the debugger/.test(line))
  return [...logged, ...said]
}

function isComplaint({ level, msg }: { level: number; msg: string }): boolean {
  return level >= ERROR_LEVEL || msg.startsWith('overloaded')
}
