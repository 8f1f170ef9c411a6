// Starts the broker once and stops it, so that its code is compiled and kept (NODE_COMPILE_CACHE). It needs no database:
// without one it listens, and says that it is not ready.
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createInterface } from 'node:readline'

const nowhere = 'postgresql://127.0.0.1:1/none'
const broker = spawn(process.execPath, [new URL('osb.mjs', import.meta.url).pathname, 'serve'], {
  stdio: ['ignore', 'pipe', 'inherit'],
  env: {
    ...process.env,
    BROKER_PORT: '0',
    BROKER_STORAGE: 'postgres',
    BROKER_USERNAME: 'nobody',
    BROKER_PASSWORD: randomBytes(12).toString('hex'),
    BROKER_ENCRYPTION_KEYS: `none:${randomBytes(32).toString('base64')}`,
    DATABASE_URL: nowhere,
    POSTGRESQL_ADMIN_URL: nowhere,
    LOG_LEVEL: 'silent'
  }
})
broker.once('exit', (code) => {
  process.exitCode = code ?? 1
})
for await (const line of createInterface({ input: broker.stdout })) {
  if (line.startsWith('The broker listens on ')) broker.kill('SIGTERM')
}
