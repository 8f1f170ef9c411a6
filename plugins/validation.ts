import type { Static, TSchema } from '@sinclair/typebox'
import { Ajv } from 'ajv'
import type { FastifyRequest, FastifyTypeProvider } from 'fastify'
import fp from 'fastify-plugin'
import { refusals } from '../src/core/errors.ts'

/** Types of a route come from its TypeBox schemas. */
export interface TypeBoxTypeProvider extends FastifyTypeProvider {
  validator: this['schema'] extends TSchema ? Static<this['schema']> : unknown
  serializer: this['schema'] extends TSchema ? Static<this['schema']> : unknown
}

/** How deep the JSON of a request may nest; deeper values overflow the stack of what later walks them. */
const MAX_DEPTH = 64
const BODY_LIMIT_BYTES = 1024 * 1024

/**
 * What of a request is taken: JSON of bounded size and depth, text that PostgreSQL can store, types as they are. A
 * host's own Ajv options and parsers have no effect here.
 */
export const validation = fp(
  async (app) => {
    // Bodies are never coerced: `5` is not `"5"`. A query has only strings, so `true` must become a boolean.
    const bodies = new Ajv({ allErrors: false, strict: true })
    const queries = new Ajv({ allErrors: false, strict: true, coerceTypes: true })
    app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === 'querystring' ? queries : bodies).compile(schema))
    app.removeAllContentTypeParsers()
    app.addContentTypeParser<string>(
      '*',
      { parseAs: 'string', bodyLimit: BODY_LIMIT_BYTES },
      async (request: FastifyRequest, body: string) => {
        requireJsonType(request.headers['content-type'])
        return parseJson(body)
      }
    )
    app.addHook('preValidation', async (request) => {
      requireStorable(request.params, 'path')
      requireStorable(request.query, 'query')
    })
  },
  { name: 'osb-validation', fastify: '5.x' }
)

/** Without a content type the body is tried as JSON; any other is 400, not 415 (spec: Content Type). */
function requireJsonType(type: string | undefined): void {
  if (type === undefined || type === '' || /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) return
  throw refusals.malformed(`The content type must be application/json, not ${JSON.stringify(type.slice(0, 80))}.`)
}

/** Korifi sends `Content-Type: application/json` with no body on GET and DELETE: that is no body, not bad JSON. */
function parseJson(text: string): unknown {
  if (text.trim() === '') return undefined
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw refusals.malformed(
      `The body is not valid JSON: ${error instanceof Error ? error.message : 'it is malformed'}.`
    )
  }
  requireStorable(value, 'body')
  return value
}

/** Refuses NUL and lone surrogates, which PostgreSQL cannot store, `__proto__` keys, and what nests too deep. */
function requireStorable(root: unknown, where: string): void {
  const open: { value: unknown; depth: number }[] = [{ value: root, depth: 0 }]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { value, depth } = next
    if (typeof value === 'string') requireText(value, where)
    if (typeof value !== 'object' || value === null) continue
    if (depth >= MAX_DEPTH) throw refusals.malformed(`The ${where} nests deeper than ${MAX_DEPTH} levels.`)
    for (const [key, inner] of Object.entries(value)) {
      if (key === '__proto__') throw refusals.malformed(`The ${where} has a field "__proto__".`)
      requireText(key, where)
      open.push({ value: inner, depth: depth + 1 })
    }
  }
}

function requireText(text: string, where: string): void {
  if (text.includes('\0') || !text.isWellFormed()) {
    throw refusals.malformed(`The ${where} has a NUL character or a lone surrogate.`)
  }
}
