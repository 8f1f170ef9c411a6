import yoctoSpinner from 'yocto-spinner'
import type { Answer, OsbClient, ResourceIds } from '../../client/client.ts'
import { type WaitOptions, waitForOperation } from '../../client/wait.ts'
import { type Arguments, type Command, Interrupted } from '../command.ts'
import { sameUrl } from './session.ts'

/** Options of the commands that start operations. */
export const followOptions = {
  sync: { type: 'boolean' },
  'no-wait': { type: 'boolean' }
} satisfies Command['options']

export const followHelp = [
  '  --sync               send no accepts_incomplete: the broker does it at once, or refuses',
  '  --no-wait            do not wait for the end; the operation is printed'
].join('\n')

export interface Followed {
  readonly client: OsbClient
  readonly ids: ResourceIds
  /** `provisioning my-db`, as the line in front of the broker's own description. */
  readonly what: string
  readonly wait?: WaitOptions
}

/**
 * Waits for the end of what was accepted, and shows how far it is on standard error.
 * @returns whether it has ended; not so with `--no-wait`, which prints the operation instead
 */
export async function follow(
  answer: Answer<unknown>,
  followed: Followed,
  values: Arguments['values']
): Promise<boolean> {
  if (answer.status !== 202) return true
  if (values['no-wait'] === true) {
    process.stdout.write(`${answer.operation ?? ''}\n`)
    return false
  }
  const wait = { ...followed.wait, ...(answer.operation === undefined ? {} : { operation: answer.operation }) }
  await waitAloud({ ...followed, wait }, values)
  return true
}

/** Polls to the end, with a spinner on a terminal and a line for each change elsewhere. */
export async function waitAloud(
  { client, ids, what, wait = {} }: Followed,
  values: Arguments['values']
): Promise<void> {
  const controller = new AbortController()
  const interrupt = () => controller.abort(new Interrupted())
  process.once('SIGINT', interrupt)
  const shown = display(what)
  try {
    const onPoll: WaitOptions['onPoll'] = ({ state, description }) => {
      if (state === 'in progress') shown.say(description ?? '')
    }
    await waitForOperation(client, ids, { ...wait, onPoll, signal: controller.signal })
    shown.end(true)
  } catch (error) {
    shown.end(false)
    if (!controller.signal.aborted) throw error
    throw new Interrupted(
      `It goes on at the broker. To wait again: osb poll${pollArguments(ids, wait)}${sameUrl(values)}`
    )
  } finally {
    process.off('SIGINT', interrupt)
  }
}

function pollArguments({ instanceId, bindingId }: ResourceIds, { operation }: WaitOptions): string {
  const words = [instanceId, ...(bindingId === undefined ? [] : [bindingId])]
  return `${words.map((word) => ` ${quoted(word)}`).join('')}${operation === undefined ? '' : ` --operation ${quoted(operation)}`}`
}

function quoted(text: string): string {
  return /^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

function display(what: string): { say(text: string): void; end(well: boolean): void } {
  if (process.stderr.isTTY) {
    const spinner = yoctoSpinner({ text: what, stream: process.stderr }).start()
    return {
      say: (text) => {
        spinner.text = text === '' ? what : `${what}: ${text}`
      },
      end: (well) => void (well ? spinner.success(what) : spinner.error(what))
    }
  }
  let last: string | undefined
  return {
    say: (text) => {
      if (text !== last) process.stderr.write(text === '' ? `${what}\n` : `${what}: ${text}\n`)
      last = text
    },
    end: () => {}
  }
}
