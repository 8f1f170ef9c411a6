import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { parse, parseAllDocuments } from 'yaml'

const execute = promisify(execFile)
const root = join(import.meta.dirname, '../..')
const program = (name: string) => join(root, 'node_modules/.bin', name)

/** A resource of Kubernetes as its file has it. */
// biome-ignore lint/suspicious/noExplicitAny: manifests are read at every depth
export type Manifest = any

export function manifestsIn(text: string): Manifest[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS())
    .filter((manifest) => manifest !== null)
}

/** What a kustomization lists, and the ConfigMaps that it makes. */
export function kustomized(folder: string): Manifest[] {
  const { resources, configMapGenerator } = parse(readFileSync(join(folder, 'kustomization.yaml'), 'utf8'))
  const listed: Manifest[] = resources.flatMap((file: string) => manifestsIn(readFileSync(join(folder, file), 'utf8')))
  const made = configMapGenerator.map(({ name, files }: { name: string; files: string[] }) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name },
    data: Object.fromEntries(files.map((file) => [file, readFileSync(join(folder, file), 'utf8')]))
  }))
  return [...listed, ...made]
}

/** Renders the chart, with Helm where it is installed, else with its engine and Go; undefined with neither. */
export async function rendered(chart: string, values: object): Promise<Manifest[] | undefined> {
  const folder = mkdtempSync(join(tmpdir(), 'osb-chart-'))
  const file = join(folder, 'values.yaml')
  writeFileSync(file, JSON.stringify(values))
  try {
    const helm = await output('helm', ['template', 'test', chart, '--values', file, '--kube-version', '1.34.0'])
    const text = helm ?? (await output('go', ['run', '.', chart, file]))
    return text === undefined ? undefined : manifestsIn(text)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

async function output(command: string, args: string[]): Promise<string | undefined> {
  try {
    return (await execute(command, args, { cwd: join(import.meta.dirname, 'helm') })).stdout
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

/**
 * What Kubernetes' own schemas do not allow. Unknown fields are found by the compiler: it takes a manifest for a literal
 * of its type, and a literal may have no others.
 */
export async function schemaFaults(manifests: readonly Manifest[]): Promise<string[]> {
  const faults: string[] = []
  const lines: string[] = []
  for (const [index, manifest] of manifests.entries()) {
    const { apiVersion, kind, metadata } = manifest
    const path = `kubernetes-models/${apiVersion}/${kind}`
    const models = await import(path)
    try {
      new models[kind](manifest).validate()
    } catch (error) {
      faults.push(`${kind} ${metadata.name}: ${error instanceof Error ? error.message : error}`)
    }
    lines.push(`import type { I${kind} as Kind${index} } from '${path}'`)
    lines.push(`export const manifest${index} = ${JSON.stringify(manifest)} satisfies Kind${index}`)
  }
  return [...faults, ...(await compilerFaults(lines.join('\n')))]
}

async function compilerFaults(source: string): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'osb-manifests-'))
  const file = join(folder, 'manifests.ts')
  writeFileSync(file, source)
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'))
  const flags = ['--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext', '--target', 'es2023', '--types', '']
  try {
    await execute(process.execPath, [program('tsc'), ...flags, file], { cwd: folder })
    return []
  } catch (error) {
    if (error instanceof Error && 'stdout' in error && error.stdout !== '')
      return String(error.stdout).trim().split('\n')
    throw error
  } finally {
    rmSync(folder, { recursive: true })
  }
}
