import { execFileSync, type SpawnOptions } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync
} from 'node:fs'
import { basename, join } from 'node:path'
import { type Copy, DockerfileParser, type From, type Instruction, type JSONInstruction } from 'dockerfile-ast'

/**
 * Carries a Dockerfile out without an engine. What COPY, ENV, WORKDIR and USER say is done in folders, one for each stage;
 * what RUN says is run, but for `npm ci`, in whose place the packages of this checkout are linked. The base image is
 * replaced by this machine's libraries and this Node.
 */

const root = join(import.meta.dirname, '../..')

/** With root's rights on Linux, commands run in a root file system of their own that is mounted read-only. */
export const confined = process.platform === 'linux' && process.getuid?.() === 0 && hasNamespaces()

/** A stage of a Dockerfile, or the image that the last one makes. */
export interface Image {
  /** Its root folder. */
  readonly root: string
  readonly env: Record<string, string>
  workdir: string
  /** `uid:gid` */
  user: string
  entrypoint: string[]
  cmd: string[]
  healthcheck: string[]
  stopSignal: string
  exposed: string[]
  labels: Record<string, string>
  base: string
  /** Paths that COPY has put there. */
  readonly copied: string[]
}

/** @param folder where the stages are laid out */
export function assemble(dockerfile: string, folder: string): Image {
  const stages = new Map<string, Image>()
  const args: Record<string, string> = {}
  let image: Image | undefined
  for (const instruction of DockerfileParser.parse(dockerfile).getInstructions()) {
    const keyword = instruction.getKeyword()
    if (keyword === 'ARG') {
      const [name = '', value = ''] = splitOnce(instruction.getArgumentsContent() ?? '')
      args[name] = value
    } else if (keyword === 'FROM') {
      const from = instruction as From
      image = newImage(join(folder, `stage-${stages.size}`), expanded(from.getImage() ?? '', args))
      stages.set(from.getBuildStage() ?? String(stages.size), image)
    } else if (image !== undefined) {
      carryOut(instruction, { image, stages, args })
    }
  }
  if (image === undefined) throw new Error('The Dockerfile has no stage.')
  return image
}

interface Context {
  readonly image: Image
  readonly stages: ReadonlyMap<string, Image>
  readonly args: Readonly<Record<string, string>>
}

function carryOut(instruction: Instruction, { image, stages, args }: Context): void {
  const text = expanded(instruction.getArgumentsContent() ?? '', { ...args, ...image.env })
  switch (instruction.getKeyword()) {
    case 'WORKDIR':
      image.workdir = text
      mkdirSync(image.root + text, { recursive: true })
      return
    case 'ENV':
      Object.assign(image.env, pairsOf(instruction, args))
      return
    case 'LABEL':
      Object.assign(image.labels, pairsOf(instruction, args))
      return
    case 'USER':
      image.user = text
      return
    case 'EXPOSE':
      image.exposed.push(...text.split(/\s+/))
      return
    case 'STOPSIGNAL':
      image.stopSignal = text
      return
    case 'COPY':
      copy(instruction as Copy, image, stages)
      return
    case 'RUN':
      runIn(image, instruction as JSONInstruction, text)
      return
    case 'ENTRYPOINT':
      image.entrypoint = JSON.parse(text)
      return
    case 'CMD':
      image.cmd = JSON.parse(text)
      return
    case 'HEALTHCHECK':
      image.healthcheck = JSON.parse(text.slice(text.indexOf('[')))
      return
    default:
      throw new Error(`What does ${instruction.getKeyword()} do? This test has to learn it.`)
  }
}

function newImage(folder: string, base: string): Image {
  for (const name of ['dev', 'proc', 'tmp', 'usr/local/bin', 'usr/lib', 'usr/lib64']) {
    mkdirSync(join(folder, name), { recursive: true })
  }
  for (const name of ['lib', 'lib64']) symlinkSync(`usr/${name}`, join(folder, name))
  writeFileSync(join(folder, 'usr/local/bin/node'), '')
  const env = { PATH: '/usr/local/bin:/usr/bin:/bin' }
  const empty = { entrypoint: [], cmd: [], healthcheck: [], exposed: [], labels: {}, copied: [] }
  return { root: folder, env, workdir: '/', user: '0:0', stopSignal: 'SIGTERM', base, ...empty }
}

function copy(instruction: Copy, image: Image, stages: ReadonlyMap<string, Image>): void {
  const flags = Object.fromEntries(instruction.getFlags().map((flag) => [flag.getName(), flag.getValue() ?? '']))
  const paths = instruction.getArguments().map((argument) => argument.getValue())
  const target = paths.at(-1) ?? ''
  const stage = flags.from === undefined ? undefined : stages.get(flags.from)
  if (flags.from !== undefined && stage === undefined) throw new Error(`There is no stage ${flags.from}.`)
  const to = join(image.root, target.startsWith('/') ? target : join(image.workdir, target))
  for (const source of paths.slice(0, -1)) {
    if (stage === undefined && !isInContext(source)) throw new Error(`.dockerignore keeps ${source} out.`)
    const from = join(stage?.root ?? root, source)
    const place = statSync(from).isFile() && target.endsWith('/') ? join(to, basename(source)) : to
    // Owners are kept as the compiled code's is; COPY itself would give everything to root.
    cpSync(from, place, { recursive: true, preserveTimestamps: true })
    if (flags.chmod !== undefined) chmodSync(place, Number.parseInt(flags.chmod, 8))
    image.copied.push(place)
  }
}

/** Whether `.dockerignore`, which leaves out everything but what it names, lets a path into the context. */
function isInContext(path: string): boolean {
  const [first, ...rest] = readFileSync(join(root, '.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
  if (first !== '*' || !rest.every((line) => /^![\w./-]+$/.test(line))) {
    throw new Error('.dockerignore is not "*" with exceptions: this test has to learn what it says.')
  }
  return rest.some((line) => path === line.slice(1) || path.startsWith(`${line.slice(1)}/`))
}

function runIn(image: Image, instruction: JSONInstruction, text: string): void {
  const list = instruction.getJSONStrings().map((part) => JSON.parse(part.getValue()))
  if (list.length > 0) {
    const { command, options } = within(image, list, { writable: true })
    execFileSync(command[0] ?? '', command.slice(1), { ...options, stdio: 'pipe' })
  } else if (text.startsWith('npm ci ')) {
    requireLocalPackages(join(image.root, image.workdir))
    symlinkSync(join(root, 'node_modules'), join(image.root, image.workdir, 'node_modules'))
  } else {
    const env = { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}` }
    const script = process.getuid?.() === 0 ? text : `chown() { :; }; ${text}`
    execFileSync('sh', ['-ec', script], { cwd: join(image.root, image.workdir), env, stdio: 'pipe' })
  }
}

/** What the lockfile installs from this checkout has to be there; the rest comes from the registry. */
function requireLocalPackages(folder: string): void {
  const { packages } = JSON.parse(readFileSync(join(folder, 'package-lock.json'), 'utf8'))
  for (const path of Object.keys(packages).filter((path) => !path.includes('node_modules/'))) {
    if (!existsSync(join(folder, path, 'package.json'))) throw new Error(`npm ci needs ${path}/package.json.`)
  }
}

/** Mounts what the base image would have had, makes all of it read-only, and becomes the command within it. */
const ENTER = `
set -e
root=$1 node=$2 mode=$3 user=$4 dir=$5; shift 5
mount --bind "$root" "$root"
for name in usr/lib usr/lib64; do [ ! -d "/$name" ] || mount --bind "/$name" "$root/$name"; done
mount --rbind /dev "$root/dev"
mount --bind "$node" "$root/usr/local/bin/node"
mount -o "remount,bind,$mode" "$root"
exec unshare --root="$root" --wd="$dir" --setgid="\${user#*:}" --setuid="\${user%:*}" -- "$@"
`

/** How to run a command as a container of an image would, with its environment and these variables alone. */
export function within(
  image: Image,
  list: readonly string[],
  { variables = {}, writable = false }: { variables?: Record<string, string>; writable?: boolean } = {}
): { command: string[]; options: SpawnOptions } {
  const { user, workdir } = image
  if (confined) {
    const env = { ...image.env, ...variables }
    const enter = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', ENTER, 'sh']
    const command = [...enter, image.root, process.execPath, writable ? 'rw' : 'ro', user, workdir, ...list]
    return { command, options: { env, cwd: '/' } }
  }
  const placed = (text: string) => (existsSync(join(image.root, text)) ? join(image.root, text) : text)
  const own = Object.entries(image.env).map(([name, value]) => [
    name,
    name === 'PATH' ? process.env.PATH : placed(value)
  ])
  const command = list.map((part) => (part === 'node' ? process.execPath : part.startsWith('/') ? placed(part) : part))
  const env = { ...Object.fromEntries(own), ...variables }
  return { command, options: { env, cwd: join(image.root, workdir) } }
}

/** Bytes of what COPY has brought into the image: all, and compressed as a layer is. */
export function layerSizes({ copied }: Image): { bytes: number; compressed: number } {
  const files = [...new Set(copied.flatMap((path) => [path, ...globSync(join(path, '**'))]))]
  const bytes = files.filter((file) => lstatSync(file).isFile()).reduce((sum, file) => sum + statSync(file).size, 0)
  const archive = execFileSync('tar', ['-czf', '-', '--no-recursion', ...files], { maxBuffer: 1e9, stdio: 'pipe' })
  return { bytes, compressed: archive.length }
}

function hasNamespaces(): boolean {
  try {
    execFileSync('unshare', ['--mount', '--propagation', 'private', 'mount', '--bind', '/tmp', '/tmp'], {
      stdio: 'pipe'
    })
    return true
  } catch {
    return false
  }
}

function pairsOf(instruction: Instruction, args: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    instruction.getArguments().map((argument) => {
      const [name = '', value = ''] = splitOnce(argument.getValue())
      return [name, expanded(value.replace(/^"(.*)"$/, '$1'), args)]
    })
  )
}

function splitOnce(text: string): string[] {
  const at = text.indexOf('=')
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}

function expanded(text: string, values: Readonly<Record<string, string>>): string {
  return text.replace(/\$\{(\w+)\}|\$(\w+)/g, (_, braced, plain) => values[braced ?? plain] ?? '')
}
