/**
 * The value of an option of the command line.
 * @throws {TypeError} when it is no number above 0
 */
export function positive(name: string, given: string): number {
  const number = Number(given)
  if (Number.isFinite(number) && number > 0) return number
  throw new TypeError(`--${name} must be a number above 0, not "${given}"`)
}
