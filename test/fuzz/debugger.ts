import { once } from 'node:events'

/** The inspector of a Node.js process: what it tells is true of the program as it is shipped. */
export interface Debugger {
  send(method: string): Promise<Record<string, number>>
  close(): void
}

export async function openDebugger(url: string): Promise<Debugger> {
  const socket = new WebSocket(url)
  await once(socket, 'open')
  const waiting = new Map<number, PromiseWithResolvers<Record<string, number>>>()
  socket.addEventListener('message', ({ data }) => {
    const { id, result } = JSON.parse(String(data))
    waiting.get(id)?.resolve(result)
    waiting.delete(id)
  })
  socket.addEventListener('close', () => {
    for (const { reject } of waiting.values()) reject(new Error('the process has ended'))
  })
  let last = 0
  return {
    send: (method) => {
      if (socket.readyState !== WebSocket.OPEN) return Promise.reject(new Error('the process has ended'))
      last += 1
      const answer = Promise.withResolvers<Record<string, number>>()
      waiting.set(last, answer)
      socket.send(JSON.stringify({ id: last, method }))
      return answer.promise
    },
    close: () => socket.close()
  }
}

/** Bytes that are in use when all garbage has been collected. */
export async function collectGarbage(inspector: Debugger): Promise<number> {
  // What a finalizer lets go is garbage of the next round.
  for (let round = 0; round < 3; round += 1) await inspector.send('HeapProfiler.collectGarbage')
  const { usedSize = 0, backingStorageSize = 0 } = await inspector.send('Runtime.getHeapUsage')
  return usedSize + backingStorageSize
}
