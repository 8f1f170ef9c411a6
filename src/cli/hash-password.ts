import { createInterface, type Interface } from 'node:readline'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { hashPassword } from '../platforms/index.ts'
import { type Command, Interrupted, UsageError } from './command.ts'

/** `osb hash-password`: what the file of platforms keeps in place of a password. */
export const hashPasswordCommand: Command = {
  summary: 'hash a password for the file of platforms',
  help: [
    '  Reads the password from standard input, without the line end, or asks for it on a terminal, without an echo.',
    '  Prints its password_hash:',
    '',
    '    openssl rand -base64 24 | tee password | osb hash-password'
  ].join('\n'),
  async run() {
    const password = process.stdin.isTTY ? await askTwice(process.stdin, process.stderr) : await readAll(process.stdin)
    process.stdout.write(`${await hashPassword(requirePassword(password))}\n`)
  }
}

/**
 * Asks for a password twice, and shows nothing of it.
 * @throws {UsageError} when the two differ, or the input ends; {@link Interrupted} on Ctrl-C
 */
export async function askTwice(input: NodeJS.ReadableStream, output: NodeJS.WritableStream): Promise<string> {
  // The terminal's own echo is off in its raw mode, and what readline would show goes nowhere.
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() })
  const lines = createInterface({ input, output: nowhere, terminal: true, historySize: 0 })
  const ask = async (question: string) => {
    output.write(question)
    const answer = await nextLine(lines)
    output.write('\n')
    return answer
  }
  try {
    const first = await ask('Password: ')
    if (first !== (await ask('Again: '))) throw new UsageError('The two passwords differ.')
    return first
  } finally {
    lines.close()
  }
}

function nextLine(lines: Interface): Promise<string> {
  return new Promise((resolve, reject) => {
    lines.once('line', resolve)
    lines.once('SIGINT', () => reject(new Interrupted('Interrupted.')))
    lines.once('close', () => reject(new UsageError('There is no password.')))
  })
}

async function readAll(input: NodeJS.ReadableStream): Promise<string> {
  return (await text(input)).replace(/\r?\n$/, '')
}

/** What basic authentication cannot carry (RFC 7617, section 2) would never let anybody in. */
function requirePassword(password: string): string {
  if (password === '') throw new UsageError('There is no password: give it on standard input, in one line.')
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (!/[\u0000-\u001F\u007F]/.test(password)) return password
  throw new UsageError('The password has a line end or another control character, which basic authentication forbids.')
}
