import { relative } from 'node:path'
import { type Environment, readEnvironment } from '../config.ts'
import { type RunningBroker, type StartBrokerOptions, startBroker } from '../server.ts'
import type { Command } from './command.ts'

/** `osb serve`: runs the broker until SIGTERM or Ctrl-C; SIGHUP loads the catalog and the platforms again. */
export const serveCommand: Command = {
  summary: 'run the broker; the environment configures it (see the README)',
  run: () => serve()
}

/** Runs the broker until a signal ends the process. Programs with providers of their own share it with `osb serve`. */
export async function serve(options: StartBrokerOptions = {}): Promise<void> {
  const config = readEnvironment(process.env)
  const broker = await startBroker(config, options)
  process.on('SIGHUP', () => {
    reload(broker).catch((error: unknown) => broker.app.log.error({ err: error }, 'the reload failed'))
  })
  const stop = () => {
    process.off('SIGTERM', stop).off('SIGINT', stop)
    stopped(broker)
  }
  process.on('SIGTERM', stop).on('SIGINT', stop)
  void broker.failed.then(() => {
    process.exitCode = 1
    stop()
  })
  // Last: whoever waits for this line may send a signal at once, and one that nobody handles ends the process.
  process.stdout.write(greeting(broker, config))
}

/** Each by itself: a fault in one file does not keep the other from being loaded. */
async function reload(broker: RunningBroker): Promise<void> {
  await Promise.all([reloadCatalog(broker), reloadPlatforms(broker)])
  broker.warnOfUnknownNames()
}

async function reloadCatalog({ app, reload }: RunningBroker): Promise<void> {
  try {
    const { etag } = await reload()
    app.log.info({ etag }, 'the catalog was loaded again')
  } catch (error) {
    app.log.error({ err: error }, 'the catalog was not loaded again; the old one stays')
  }
}

async function reloadPlatforms({ app, platforms }: RunningBroker): Promise<void> {
  if (platforms === undefined) return
  try {
    await platforms.reload()
    app.log.info('the platforms were loaded again')
  } catch (error) {
    app.log.error({ err: error }, 'the platforms were not loaded again; the old ones stay')
  }
}

/** Schedulers wait about ten seconds before they kill. By now every request has been answered. */
const STOP_WITHIN_MS = 9_000

function stopped({ app, stop }: RunningBroker): void {
  app.log.info('stopping')
  const overdue = setTimeout(() => {
    app.log.warn('stopping takes too long; the process ends now')
    process.exit(1)
  }, STOP_WITHIN_MS)
  stop().then(
    () => {
      app.log.info('stopped')
      clearTimeout(overdue)
      // A provider that ignored its signal would keep the process.
      process.exit()
    },
    (error: unknown) => {
      app.log.fatal({ err: error }, 'stopping failed')
      process.exit(1)
    }
  )
}

/** Where it listens, how to get in, and lines to paste. */
function greeting({ url, catalog, kept }: RunningBroker, config: Environment): string {
  const entry = catalog.plans.find(({ bindable }) => bindable)
  const given = config.BROKER_PLATFORMS_FILE === undefined ? '$BROKER_USERNAME:$BROKER_PASSWORD' : 'USERNAME:PASSWORD'
  const user = kept === undefined ? given : `$(cat ${shown(kept.credentialsFile)})`
  const lines = [``, `The broker listens on ${url} (state: ${config.BROKER_STORAGE}).`]
  if (kept?.fresh === true) {
    const [username, password] = kept.credentials.split(':')
    lines.push(`Its credentials are ${username} / ${password}`, `and stay in ${shown(kept.credentialsFile)}.`)
  }
  if (entry === undefined) return `${lines.join('\n')}\n\n`
  const ids = `"service_id":"${entry.service.id}","plan_id":"${entry.plan.id}"`
  const query = `service_id=${entry.service.id}&plan_id=${entry.plan.id}`
  const curl = `curl -sS -u "${user}" -H 'X-Broker-API-Version: 2.17'`
  const json = `-H 'Content-Type: application/json'`
  const instance = `${url}/v2/service_instances/my-db`
  lines.push(
    '',
    `Make an instance of ${entry.service.name}/${entry.plan.name}, bind it, read the credentials, remove both:`,
    '',
    `  ${curl} ${json} -X PUT '${instance}' -d '{${ids},"organization_guid":"org","space_guid":"space"}'`,
    `  ${curl} ${json} -X PUT '${instance}/service_bindings/my-app' -d '{${ids}}'`,
    `  ${curl} '${instance}/service_bindings/my-app'`,
    `  ${curl} -X DELETE '${instance}/service_bindings/my-app?${query}'`,
    `  ${curl} -X DELETE '${instance}?${query}'`
  )
  return `${lines.join('\n')}\n\n`
}

function shown(path: string): string {
  const short = relative(process.cwd(), path)
  return short.startsWith('..') ? path : short
}
