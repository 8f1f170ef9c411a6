/** Which of two semantic versions comes first: below 0 the first (semver 2.0, item 11). Build metadata does not count. */
export function compareVersions(a: string, b: string): number {
  const [first, second] = [partsOf(a), partsOf(b)]
  const byCore = compareLists(first.core, second.core)
  if (byCore !== 0) return byCore
  // A version without a prerelease comes after those with one.
  if (first.prerelease.length === 0 || second.prerelease.length === 0) {
    return second.prerelease.length - first.prerelease.length
  }
  return compareLists(first.prerelease, second.prerelease)
}

function partsOf(version: string): { core: string[]; prerelease: string[] } {
  const [release = ''] = version.split('+', 1)
  const dash = release.indexOf('-')
  if (dash === -1) return { core: release.split('.'), prerelease: [] }
  return { core: release.slice(0, dash).split('.'), prerelease: release.slice(dash + 1).split('.') }
}

function compareLists(a: readonly string[], b: readonly string[]): number {
  for (const [index, part] of a.entries()) {
    const other = b[index]
    const order = other === undefined ? 1 : compareParts(part, other)
    if (order !== 0) return order
  }
  return a.length - b.length
}

function compareParts(a: string, b: string): number {
  const [isNumber, otherIsNumber] = [a, b].map((part) => /^\d+$/.test(part))
  if (isNumber && otherIsNumber) return Number(BigInt(a) - BigInt(b))
  if (isNumber !== otherIsNumber) return isNumber ? -1 : 1
  return a < b ? -1 : Number(a > b)
}
