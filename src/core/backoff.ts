/** Delays between the attempts of an operation: doubled, jittered, bounded. The same for every runner. */
export const backoff = { firstSeconds: 1, maximumSeconds: 30 } as const

/** Milliseconds to wait after the given number of failed attempts, from 1. */
export function backoffMs(failures: number, random: () => number = Math.random): number {
  const seconds = Math.min(backoff.maximumSeconds, backoff.firstSeconds * 2 ** Math.min(failures - 1, 16))
  return seconds * 1000 * (0.5 + random() / 2)
}
