import { type ParseArgsConfig, parseArgs } from 'node:util'

/** One word of the command line: `osb NAME`. */
export interface Command {
  /** One line, for the list of commands. */
  readonly summary: string
  /** What follows the name: `URL [options]`. */
  readonly synopsis?: string
  /** Lines about the arguments and options, for `osb NAME --help`. */
  readonly help?: string
  /** As `parseArgs` takes them; `help` is there already. */
  readonly options?: NonNullable<ParseArgsConfig['options']>
  /** How many words may follow; default none. */
  readonly words?: { readonly min: number; readonly max: number }
  /** Sets `process.exitCode` where the outcome is a failure that needs no message. */
  run(given: Arguments): Promise<void>
}

/** What was written behind the name of a command. */
export interface Arguments {
  readonly words: readonly string[]
  readonly values: Readonly<Record<string, OptionValue>>
}

type OptionValue = string | boolean | (string | boolean)[] | undefined

/** What was written cannot be understood; the message says what can. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** Ctrl-C. */
export class Interrupted extends Error {
  override readonly name = 'Interrupted'
}

/** Parses and runs one command; prints its help instead when that is asked for. */
export async function runCommand(name: string, command: Command, args: readonly string[]): Promise<void> {
  const { options = {}, words = { min: 0, max: 0 } } = command
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { ...options, help: { type: 'boolean', short: 'h' } }
  })
  if (values.help === true) {
    process.stdout.write(`${usageOf(name, command)}\n`)
    return
  }
  if (positionals.length < words.min || positionals.length > words.max) throw new UsageError(usageOf(name, command))
  await command.run({ words: positionals, values })
}

function usageOf(name: string, { summary, synopsis, help }: Command): string {
  const first = `usage: osb ${name}${synopsis === undefined ? '' : ` ${synopsis}`}`
  return [first, '', `  ${summary}`, ...(help === undefined ? [] : ['', help])].join('\n')
}
