/**
 * What `Retry-After` asks for, in milliseconds: a number of seconds, or a date (RFC 9110, 10.2.3). `undefined` for none and
 * for what is neither.
 */
export function retryAfterMs(header: string | undefined, now = Date.now()): number | undefined {
  if (header === undefined) return undefined
  if (/^\s*\d+\s*$/.test(header)) return Number(header) * 1000
  const date = Date.parse(header)
  return Number.isNaN(date) ? undefined : Math.max(0, date - now)
}
