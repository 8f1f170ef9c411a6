/** What {@link orLate} answers when the time is up. */
export const LATE = Symbol('late')

/**
 * Settles as `work` does, or with {@link LATE} after `ms` milliseconds. The work continues; its late failure is ignored. The
 * wait alone does not keep the process alive.
 */
export async function orLate<T>(work: Promise<T>, ms: number): Promise<T | typeof LATE> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<typeof LATE>((resolve) => {
    timer = setTimeout(() => resolve(LATE), timerMs(ms)).unref()
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

/** The delay of a timer: at least 0, and at most the 2^31 - 1 ms that a timer takes. */
export function timerMs(ms: number): number {
  return Math.min(Math.max(0, ms), 2 ** 31 - 1)
}
