import { randomUUID } from 'node:crypto'
import type { BindingReply } from '../../../schemas/service-binding.ts'
import { type Arguments, type Command, UsageError } from '../command.ts'
import { textOf } from '../connection.ts'
import { follow, followHelp, followOptions } from './following.ts'
import { printed } from './instances.ts'
import { environment, formatFrom, json, properties } from './output.ts'
import { parameterHelp, parameterOptions, parametersFrom } from './parameters.ts'
import { clientFrom, clientHelp, clientOptions, idsOf, planHelp, planOptions } from './session.ts'

const outputOptions = { ...clientOptions, prefix: { type: 'string' } } satisfies Command['options']
const outputHelp = [
  '  -o, --output FORMAT  table (default), json, or env: lines for a shell to read',
  '  --prefix TEXT        goes before each name of --output env'
].join('\n')

/** `osb bind`. */
export const bindCommand: Command = {
  summary: 'make a service binding and print its credentials',
  synopsis: 'INSTANCE [BINDING] [options]',
  help: [
    '  BINDING              its id; default: a new GUID, which is told on standard error',
    '  --app GUID           the app it is for; some plans demand one',
    '  --rotate BINDING     make the successor of this binding; both stay valid',
    parameterHelp,
    planHelp,
    followHelp,
    clientHelp,
    outputHelp
  ].join('\n'),
  words: { min: 1, max: 2 },
  options: {
    ...outputOptions,
    ...planOptions,
    ...parameterOptions,
    ...followOptions,
    app: { type: 'string' },
    rotate: { type: 'string' }
  },
  async run({ words: [instanceId = '', given], values }) {
    formatFrom(values, ['table', 'json', 'env'])
    const parameters = parametersFrom(values)
    const [app, predecessor] = [textOf(values, 'app'), textOf(values, 'rotate')]
    if (predecessor !== undefined && (parameters !== undefined || app !== undefined)) {
      throw new UsageError('--rotate takes app and parameters from the binding that it succeeds.')
    }
    const client = clientFrom(values)
    const planIds = await idsOf(client, instanceId, values)
    const ids = { instanceId, bindingId: given ?? randomUUID() }
    const answer = await client.bind(
      ids,
      {
        ...planIds,
        ...(predecessor === undefined ? {} : { predecessor_binding_id: predecessor }),
        ...(app === undefined ? {} : { bind_resource: { app_guid: app } }),
        ...(parameters === undefined ? {} : { parameters })
      },
      { acceptsIncomplete: values.sync !== true }
    )
    if (given === undefined) process.stderr.write(`binding ${ids.bindingId}\n`)
    const followed = { client, ids, what: `binding ${ids.bindingId}`, wait: planIds }
    if (!(await follow(answer, followed, values))) return
    process.stdout.write(shown(answer.status === 202 ? await client.fetchBinding(ids) : answer.body, values))
  }
}

/** `osb unbind`. */
export const unbindCommand: Command = {
  summary: 'remove a service binding',
  synopsis: 'INSTANCE BINDING [options]',
  help: [planHelp, followHelp, clientHelp].join('\n'),
  words: { min: 2, max: 2 },
  options: { ...clientOptions, ...planOptions, ...followOptions },
  async run({ words: [instanceId = '', bindingId = ''], values }) {
    const client = clientFrom(values)
    const ids = { instanceId, bindingId }
    const planIds = await idsOf(client, instanceId, values)
    const answer = await client.unbind(ids, planIds, { acceptsIncomplete: values.sync !== true })
    const followed = { client, ids, what: `unbinding ${bindingId}`, wait: { ...planIds, removes: true } }
    await follow(answer, followed, values)
  }
}

/** `osb get`. */
export const getCommand: Command = {
  summary: 'print an instance, or a binding with its credentials',
  synopsis: 'INSTANCE [BINDING] [options]',
  help: [clientHelp, outputHelp].join('\n'),
  words: { min: 1, max: 2 },
  options: outputOptions,
  async run({ words: [instanceId = '', bindingId], values }) {
    formatFrom(values, bindingId === undefined ? ['table', 'json'] : ['table', 'json', 'env'])
    const client = clientFrom(values)
    const text =
      bindingId === undefined
        ? printed({ ...(await client.fetchInstance(instanceId)) }, values)
        : shown(await client.fetchBinding({ instanceId, bindingId }), values)
    process.stdout.write(text)
  }
}

/** The credentials, or all there is where a binding has none; JSON always has all. */
function shown(binding: BindingReply, values: Arguments['values']): string {
  const format = formatFrom(values, ['table', 'json', 'env'])
  if (format === 'json') return json(binding)
  const value = binding.credentials ?? { ...binding }
  return format === 'env' ? environment(value, textOf(values, 'prefix')) : properties(value)
}
