/** What is wrong with one value, and what is allowed; who reads the file adds where. */
export class Mistake extends Error {
  override readonly name = 'Mistake'
}

/** Platforms that cannot be read or break a rule; `message` is all an operator needs. */
export class PlatformsError extends Error {
  override readonly name = 'PlatformsError'
}
