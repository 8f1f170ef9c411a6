// A process that owns an embedded server, to be killed by tests. Started with fork; options as JSON in the arguments.
import { startEmbeddedPostgres } from '../../src/embedded-postgres/index.ts'

const say = (message: Record<string, unknown>) => process.send?.(message)

process.on('SIGINT', () => say({ type: 'interrupted' }))

try {
  const server = await startEmbeddedPostgres({
    ...JSON.parse(process.argv[2] ?? '{}'),
    log: (line) => say({ type: 'log', line }),
    onExit: (error) => say({ type: 'gave up', message: error.message })
  })
  const { port, adminUrl, clusterDir } = server
  say({ type: 'started', port, adminUrl, clusterDir, pid: server.pid })
  process.on('message', () => {
    // Nothing but the channel may keep this process alive after stop: it has to end by itself.
    void server.stop().then(() => process.disconnect())
  })
} catch (error) {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  say({ type: 'failed', code, message: error instanceof Error ? error.message : String(error) })
  process.disconnect()
}
