import { isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument } from 'yaml'
import type { Place } from './faults.ts'

/** Where in a text something stands; both count from 1. */
export interface Position {
  line: number
  column: number
}

/**
 * Finds places of a catalog in its text, JSON or YAML, which has been parsed without a fault. A value is where its key
 * is; what is missing is where the object begins that lacks it; what an alias stands for is where it is written.
 */
export function positionsIn(text: string): (place: Place) => Position {
  const lineCounter = new LineCounter()
  // JSON is YAML in its flow style. What its parser has to say against it was said by the reader.
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    stringKeys: true,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'silent',
    lineCounter
  })
  const resolved = (node: unknown): Node | undefined => {
    const target = isAlias(node) ? node.resolve(document) : node
    return isNode(target) ? target : undefined
  }
  return (place) => {
    let node = resolved(document.contents)
    let offset = node?.range?.[0] ?? 0
    for (const key of place) {
      const next = stepInto(node, key)
      if (next === undefined) break
      offset = next.offset
      node = resolved(next.value)
    }
    const { line, col } = lineCounter.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
}

function stepInto(node: Node | undefined, key: string | number): { offset: number; value: unknown } | undefined {
  if (isSeq(node)) {
    const item = typeof key === 'number' ? node.items[key] : undefined
    return isNode(item) ? { offset: item.range?.[0] ?? 0, value: item } : undefined
  }
  if (!isMap(node)) return undefined
  const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key))
  return pair !== undefined && isScalar(pair.key) ? { offset: pair.key.range?.[0] ?? 0, value: pair.value } : undefined
}
