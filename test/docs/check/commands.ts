import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Block, Fault } from './page.ts'
import { commandsIn } from './shell.ts'

/** What the commands of the documentation are compared with. */
export interface Reference {
  /** Of the repository: `npx node FILE` has to be there. */
  readonly root: string
  readonly scripts: ReadonlySet<string>
  /** The text of `osb --help`, or of `osb NAME --help`; rejects where there is no such command. */
  help(name?: string): Promise<string>
}

/** Programs of every system, and of the tools that a reader has. Their arguments are not checked. */
const PLAIN = new Set([
  'alias',
  'cat',
  'cd',
  'cp',
  'curl',
  'cut',
  'date',
  'echo',
  'eval',
  'export',
  'git',
  'install',
  'kill',
  'mkdir',
  'node',
  'openssl',
  'psql',
  'sed',
  'sh',
  'sha256sum',
  'tar',
  'tee'
])

/** Sub-commands that the documentation uses of programs that cannot be asked here. Their arguments are not checked. */
const FOREIGN: Readonly<Record<string, readonly string[]>> = {
  cf: [
    'bind-service',
    'create-service',
    'create-service-broker',
    'create-service-key',
    'delete-service',
    'delete-service-broker',
    'disable-service-access',
    'enable-service-access',
    'marketplace',
    'purge-service-offering',
    'push',
    'restage',
    'service',
    'service-key',
    'set-env',
    'start',
    'unbind-service',
    'update-service',
    'update-service-broker'
  ],
  docker: ['build', 'compose', 'run'],
  helm: ['install'],
  kubectl: ['apply', 'create', 'get', 'logs', 'rollout'],
  smctl: [
    'bind',
    'list-offerings',
    'list-plans',
    'login',
    'marketplace',
    'provision',
    'register-broker',
    'update-broker'
  ],
  systemctl: ['enable', 'reload']
}

/** Commands that do not exist, or are not what they are said to be. */
export async function commandFaults(block: Block, reference: Reference, foreign: boolean): Promise<Fault[]> {
  const commands = commandsIn(block.language === 'console' ? typedIn(block.text) : block.text)
  if (commands.length === 0) return [{ page: block.page, line: block.line, message: 'there is no command in it' }]
  const faults = await Promise.all(
    commands.map(async ({ line, words }) => {
      const message = await faultOf(words, reference, foreign)
      return message === undefined ? [] : [{ page: block.page, line: block.line + line, message }]
    })
  )
  return faults.flat()
}

async function faultOf(words: readonly string[], reference: Reference, foreign: boolean): Promise<string | undefined> {
  const [program = '', ...args] = words
  if (program === 'osb') return await osbFault(args, reference)
  if (program === 'npm') return npmFault(args, reference)
  if (program === 'npx' && args[0] === 'osb') return await osbFault(args.slice(1), reference)
  if (program === 'npx') return npxFault(args, reference)
  if (PLAIN.has(program) || program === '.ci/run') return undefined
  const known = Object.hasOwn(FOREIGN, program) ? FOREIGN[program] : undefined
  if (known === undefined) return `nobody knows the program ${program}`
  if (!foreign) return `${program} cannot be asked here: mark the block as \`sh shape\``
  return known.includes(args[0] ?? '') ? undefined : `${program} ${args[0]} is not among ${known.join(', ')}`
}

/** `osb NAME …`: the name and every option have to be in the help. */
async function osbFault(args: readonly string[], { help }: Reference): Promise<string | undefined> {
  const [name = '', ...rest] = args
  const known = [...(await help()).matchAll(/^ {2}([\w-]+) /gm)].map(([, command]) => command)
  // `osb COMMAND --help` stands for any.
  if (name === 'COMMAND' || name === '--help') return undefined
  if (!known.includes(name)) return `there is no osb ${name}; there are ${known.join(', ')}`
  const text = await help(name)
  const options = rest.filter((word) => word.startsWith('-') && word !== '-').map((word) => word.replace(/=.*$/, ''))
  const unknown = options.find(
    (option) => option !== '--help' && !new RegExp(`(?<![\\w-])${option}(?![\\w-])`).test(text)
  )
  return unknown === undefined ? undefined : `osb ${name} --help does not know ${unknown}`
}

function npmFault(
  [name = '', script = '', ...rest]: readonly string[],
  { scripts, root }: Reference
): string | undefined {
  if (['audit', 'ci', 'init', 'install', 'pack', 'pkg'].includes(name)) return undefined
  if (name === 'start' || name === 'test')
    return scripts.has(name) ? pathFault([script, ...rest], root) : `there is no script ${name}`
  if (name === 'run') return scripts.has(script) ? undefined : `package.json has no script ${script}`
  return `npm ${name} is not known here`
}

function npxFault([name = '', ...rest]: readonly string[], { root }: Reference): string | undefined {
  return name === 'node' ? pathFault(rest, root) : `npx ${name} is not known here`
}

/** Files of ours that a command names. */
function pathFault(words: readonly string[], root: string): string | undefined {
  const missing = words.find((word) => /^(src|test|examples|docs|bench)\//.test(word) && !existsSync(join(root, word)))
  return missing === undefined ? undefined : `${missing} is not there`
}

/** The lines behind a prompt; what a console answers is left out, its lines stay. */
function typedIn(text: string): string {
  return text
    .split('\n')
    .map((line) => (line.startsWith('$ ') ? line.slice(2) : ''))
    .join('\n')
}

/** Asks the command line for its help, each text once. */
export function askHelp(root: string): Reference['help'] {
  const asked = new Map<string, Promise<string>>()
  return async (name = '') => {
    const answer = asked.get(name) ?? ask(root, name)
    asked.set(name, answer)
    return await answer
  }
}

async function ask(root: string, name: string): Promise<string> {
  const args = [join(root, 'src/cli/osb.js'), ...(name === '' ? [] : [name]), '--help']
  return (await promisify(execFile)(process.execPath, args)).stdout
}
