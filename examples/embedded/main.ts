// node examples/embedded/main.ts, with BROKER_USERNAME and BROKER_PASSWORD set
import { buildApp } from './app.ts'

const { BROKER_USERNAME: username, BROKER_PASSWORD: password } = process.env
if (!username || !password) throw new Error('Set BROKER_USERNAME and BROKER_PASSWORD.')

const app = await buildApp({ auth: { username, password }, baseUrl: 'http://127.0.0.1:3000' })
process.once('SIGTERM', () => void app.close()).once('SIGINT', () => void app.close())
console.log(`The application listens on ${await app.listen({ host: '127.0.0.1', port: 3000 })}, its broker under /osb.`)
