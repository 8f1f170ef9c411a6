import type { Command } from '../command.ts'
import { formatFrom, json, table } from './output.ts'
import { clientFrom, clientHelp, clientOptions } from './session.ts'

/** `osb catalog`: what a broker offers. */
export const catalogCommand: Command = {
  summary: 'list the service offerings and plans of a broker',
  synopsis: '[options]',
  help: [clientHelp, '  -o, --output FORMAT  table (default) or json'].join('\n'),
  options: clientOptions,
  async run({ values }) {
    const format = formatFrom(values, ['table', 'json'])
    const catalog = await clientFrom(values).catalog()
    if (format === 'json') {
      process.stdout.write(json(catalog))
      return
    }
    const rows = catalog.services.flatMap((service) =>
      service.plans.map((plan) => [
        service.name,
        plan.name,
        plan.free === false ? 'no' : 'yes',
        (plan.bindable ?? service.bindable) ? 'yes' : 'no',
        plan.description
      ])
    )
    process.stdout.write(table(['SERVICE', 'PLAN', 'FREE', 'BINDABLE', 'DESCRIPTION'], rows))
  }
}
