import { randomUUID } from 'node:crypto'
import type { ServicePlan } from '../../../schemas/catalog.ts'
import type { JsonObject } from '../../../schemas/common.ts'
import { type Arguments, type Command, UsageError } from '../command.ts'
import { textOf } from '../connection.ts'
import { follow, followHelp, followOptions } from './following.ts'
import { formatFrom, json, properties } from './output.ts'
import { parameterHelp, parameterOptions, parametersFrom } from './parameters.ts'
import { clientFrom, clientHelp, clientOptions, entryNamed, idsOf, planHelp, planOptions } from './session.ts'

const outputHelp = '  -o, --output FORMAT  table (default) or json'
/** Neither means anything to a person at a terminal, and the specification demands both. */
const NOBODY = 'osb'

/** `osb provision`. */
export const provisionCommand: Command = {
  summary: 'make a service instance',
  synopsis: 'SERVICE PLAN [INSTANCE] [options]',
  help: [
    '  SERVICE, PLAN        by name or id',
    '  INSTANCE             its id; default: a new GUID, which is printed',
    parameterHelp,
    '  --organization GUID  default: osb',
    '  --space GUID         default: osb',
    followHelp,
    clientHelp,
    outputHelp
  ].join('\n'),
  words: { min: 2, max: 3 },
  options: {
    ...clientOptions,
    ...parameterOptions,
    ...followOptions,
    organization: { type: 'string' },
    space: { type: 'string' }
  },
  async run({ words: [serviceName = '', planName = '', given], values }) {
    const format = formatFrom(values, ['table', 'json'])
    const parameters = parametersFrom(values)
    const client = clientFrom(values)
    const { service, plan } = entryNamed(await client.catalog(), serviceName, planName)
    const instanceId = given ?? randomUUID()
    const organization = textOf(values, 'organization') ?? NOBODY
    const space = textOf(values, 'space') ?? NOBODY
    const answer = await client.provision(
      instanceId,
      {
        service_id: service.id,
        plan_id: plan.id,
        organization_guid: organization,
        space_guid: space,
        context: { platform: NOBODY },
        ...(parameters === undefined ? {} : { parameters })
      },
      { acceptsIncomplete: values.sync !== true }
    )
    const wait = { service_id: service.id, plan_id: plan.id, ...timeoutOf(plan) }
    const followed = { client, ids: { instanceId }, what: `provisioning ${instanceId}`, wait }
    if (!(await follow(answer, followed, values))) return
    const { dashboard_url: dashboard, metadata } = answer.body
    const told = {
      instance: instanceId,
      service: service.name,
      plan: plan.name,
      ...(dashboard === undefined ? {} : { dashboard_url: dashboard }),
      ...(metadata === undefined ? {} : { metadata })
    }
    process.stdout.write(format === 'json' ? json(told) : properties(told))
  }
}

/** `osb update`. */
export const updateCommand: Command = {
  summary: 'change plan or parameters of an instance',
  synopsis: 'INSTANCE [options]',
  help: [
    '  --plan NAME          the plan it is to have, by name or id',
    parameterHelp,
    '  --upgrade            bring it to the maintenance_info of its plan in the catalog',
    '  --service NAME       needed where the broker does not let instances be fetched',
    followHelp,
    clientHelp
  ].join('\n'),
  words: { min: 1, max: 1 },
  options: { ...clientOptions, ...planOptions, ...parameterOptions, ...followOptions, upgrade: { type: 'boolean' } },
  async run({ words: [instanceId = ''], values }) {
    const parameters = parametersFrom(values)
    const planName = textOf(values, 'plan')
    if (planName === undefined && parameters === undefined && values.upgrade !== true) {
      throw new UsageError('Say what is to change: --plan, --parameter, --parameters or --upgrade.')
    }
    const client = clientFrom(values)
    const catalog = await client.catalog()
    const serviceName = textOf(values, 'service')
    const ids = serviceName !== undefined ? undefined : await idsOf(client, instanceId, { ...values, plan: undefined })
    const service = catalog.services.find(
      ({ id, name }) => id === ids?.service_id || name === serviceName || id === serviceName
    )
    if (service === undefined) throw new UsageError('The offering of the instance is not in the catalog.')
    const plan = planName === undefined ? undefined : entryNamed(catalog, service.id, planName).plan
    const current = plan ?? service.plans.find(({ id }) => id === ids?.plan_id)
    const answer = await client.update(
      instanceId,
      {
        service_id: service.id,
        ...(plan === undefined ? {} : { plan_id: plan.id }),
        ...(parameters === undefined ? {} : { parameters }),
        ...(values.upgrade === true ? { maintenance_info: { version: versionOf(current) } } : {}),
        ...(ids === undefined ? {} : { previous_values: { plan_id: ids.plan_id } })
      },
      { acceptsIncomplete: values.sync !== true }
    )
    const before = ids ?? { service_id: service.id }
    const followed = {
      client,
      ids: { instanceId },
      what: `updating ${instanceId}`,
      wait: { ...before, ...timeoutOf(current) }
    }
    await follow(answer, followed, values)
  }
}

/** `osb deprovision`. */
export const deprovisionCommand: Command = {
  summary: 'remove a service instance',
  synopsis: 'INSTANCE [options]',
  help: [planHelp, followHelp, clientHelp].join('\n'),
  words: { min: 1, max: 1 },
  options: { ...clientOptions, ...planOptions, ...followOptions },
  async run({ words: [instanceId = ''], values }) {
    const client = clientFrom(values)
    const ids = await idsOf(client, instanceId, values)
    const answer = await client.deprovision(instanceId, ids, { acceptsIncomplete: values.sync !== true })
    const followed = {
      client,
      ids: { instanceId },
      what: `deprovisioning ${instanceId}`,
      wait: { ...ids, removes: true }
    }
    await follow(answer, followed, values)
  }
}

/** What a plan says of the time that its operations may take. */
export function timeoutOf(plan: ServicePlan | undefined): { timeoutMs?: number } {
  const { maximum_polling_duration: seconds } = plan ?? {}
  return seconds === undefined ? {} : { timeoutMs: seconds * 1000 }
}

function versionOf(plan: ServicePlan | undefined): string {
  const version = plan?.maintenance_info?.version
  if (version === undefined) throw new UsageError('--upgrade: the plan has no maintenance_info in the catalog.')
  return version
}

/** Prints one thing in the format that was asked for. */
export function printed(value: JsonObject, values: Arguments['values']): string {
  return formatFrom(values, ['table', 'json']) === 'json' ? json(value) : properties(value)
}
