import { OsbError } from '../../client/errors.ts'
import type { Command } from '../command.ts'
import { textOf } from '../connection.ts'
import { waitAloud } from './following.ts'
import { printed } from './instances.ts'
import { clientFrom, clientHelp, clientOptions } from './session.ts'

/** `osb poll`: waits for an operation that was started before. */
export const pollCommand: Command = {
  summary: 'wait for the operation of an instance or a binding',
  synopsis: 'INSTANCE [BINDING] [options]',
  help: [
    '  --operation TOKEN    which one; default: the latest',
    '  --no-wait            print what last_operation says now',
    clientHelp,
    '  -o, --output FORMAT  table (default) or json, with --no-wait'
  ].join('\n'),
  words: { min: 1, max: 2 },
  options: { ...clientOptions, operation: { type: 'string' }, 'no-wait': { type: 'boolean' } },
  async run({ words: [instanceId = '', bindingId], values }) {
    const client = clientFrom(values)
    const ids = { instanceId, bindingId }
    const operation = textOf(values, 'operation')
    if (values['no-wait'] === true) {
      const { retryAfterMs: _, ...poll } = await client.lastOperation(ids, { operation })
      process.stdout.write(printed({ ...poll }, values))
      if (poll.state === 'failed') process.exitCode = 1
      return
    }
    try {
      await waitAloud({ client, ids, what: `waiting for ${bindingId ?? instanceId}`, wait: { operation } }, values)
    } catch (error) {
      if (!(error instanceof OsbError) || error.status !== 410) throw error
      process.stderr.write('It is gone.\n')
    }
  }
}
