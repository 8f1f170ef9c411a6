import { Writable } from 'node:stream'
import type { TestContext } from 'node:test'
import Fastify, { type FastifyServerOptions, type InjectOptions } from 'fastify'
import { auth } from '../../../plugins/auth.ts'
import { errors } from '../../../plugins/errors.ts'
import { identity } from '../../../plugins/identity.ts'
import type { PlatformsSource } from '../../../src/platforms/index.ts'

/** An app that answers who came in, and all that it logs. */
export async function guarded(t: TestContext, platforms: PlatformsSource | false, options: FastifyServerOptions = {}) {
  let log = ''
  const stream = new Writable({
    write(chunk, _encoding, done) {
      log += String(chunk)
      done()
    }
  })
  const app = Fastify({ ...options, logger: { level: 'trace', stream } })
  t.after(() => app.close())
  await app.register(errors, { answerUnknownRoutes: true })
  await app.register(identity)
  await app.register(auth, { platforms })
  app.get('/', async (request) => ({ platform: request.osbCall.platform }))
  const get = (authorization?: string, more: InjectOptions = {}) => {
    const own = authorization === undefined ? {} : { authorization }
    return app.inject({ url: '/', ...more, headers: { ...own, ...more.headers } })
  }
  return {
    app,
    get,
    /** Lines of the log so far. */
    lines: (): Record<string, unknown>[] =>
      log
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line)),
    text: () => log
  }
}

/** The body of every 401. */
export const unauthorized = { description: 'The credentials are missing or wrong.' }
