import { openSync } from 'node:fs'
import { Server } from 'node:http'

/*
 * `node --import` this file before the broker, and every request does what PLANT names: keeps 16 KiB (`leak`), opens a
 * file (`descriptors`), rejects a promise that nobody waits for (`rejection`), or holds the event loop now and then
 * (`block`).
 */

const kept: number[][] = []
let requests = 0
const faults: Record<string, () => void> = {
  leak: () => void kept.push(Array.from({ length: 2_048 }, (_, index) => requests + index)),
  descriptors: () => void openSync('/dev/null', 'r'),
  rejection: () => void Promise.reject(new Error('planted')),
  block: () => {
    if (requests === 100) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_500)
  }
}
const fault = faults[process.env.PLANT ?? '']
if (fault === undefined) throw new TypeError(`PLANT must be one of ${Object.keys(faults).join(', ')}`)

const emit = Server.prototype.emit
Server.prototype.emit = function (this: Server, event: string | symbol, ...values: unknown[]) {
  if (event === 'request') {
    requests += 1
    fault()
  }
  return Reflect.apply(emit, this, [event, ...values])
}
