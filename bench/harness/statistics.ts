export interface Spread {
  readonly median: number
  readonly low: number
  readonly high: number
}

/** @throws {RangeError} for no values */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, high] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.ceil((sorted.length - 1) / 2)]]
  if (low === undefined || high === undefined) throw new RangeError('no values have no median')
  return (low + high) / 2
}

/** @throws {RangeError} for no values */
export function spread(values: readonly number[]): Spread {
  return { median: median(values), low: Math.min(...values), high: Math.max(...values) }
}

/** A value at a time; any unit of time. */
export interface Point {
  readonly at: number
  readonly value: number
}

/**
 * By how much the values grow in a unit of time: the line of least squares through them.
 * @throws {RangeError} when the points are not of two times at least
 */
export function slope(points: readonly Point[]): number {
  const meanAt = mean(points.map(({ at }) => at))
  const meanValue = mean(points.map(({ value }) => value))
  const width = sum(points.map(({ at }) => (at - meanAt) ** 2))
  if (!(width > 0)) throw new RangeError('a slope takes points of two times at least')
  return sum(points.map(({ at, value }) => (at - meanAt) * (value - meanValue))) / width
}

function mean(values: readonly number[]): number {
  return sum(values) / values.length
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
