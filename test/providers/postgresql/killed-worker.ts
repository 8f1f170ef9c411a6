// A process that does one operation and dies by SIGKILL at the statement it is told, with no chance to clean up. Order as
// JSON on standard input; ends with 0 when the operation was over before it came to that.
import { readFileSync } from 'node:fs'
import { Client } from 'pg'
import { postgresqlProvider } from '../../../src/providers/postgresql/index.ts'
import { untilDone } from './failures.ts'
import { KeptInstance, type Order, perform } from './kept-instance.ts'

const { adminUrl, operation, at, moment, file }: Order = JSON.parse(readFileSync(0, 'utf8'))
const provider = postgresqlProvider({ adminUrl })
const instance = new KeptInstance(provider, file)
let left = at
const original = Client.prototype.query
Object.defineProperty(Client.prototype, 'query', {
  value(this: Client, ...args: unknown[]): unknown {
    left -= 1
    if (left === 0 && moment === 'before') die()
    const running: unknown = Reflect.apply(original, this, args)
    // The socket has it by then; the answer cannot have been read
    if (left === 0) setImmediate(die)
    return running
  }
})
await untilDone({ instance, adminUrl }, (call) => perform[operation](instance, call))
await provider.stop?.()

function die(): void {
  process.kill(process.pid, 'SIGKILL')
}
