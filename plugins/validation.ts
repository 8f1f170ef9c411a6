import { SerializerSelector } from '@fastify/fast-json-stringify-compiler'
import type { Static, TSchema } from '@sinclair/typebox'
import { Ajv, type ValidateFunction } from 'ajv'
import type { FastifyRequest, FastifySchemaValidationError, FastifyTypeProvider } from 'fastify'
import fp from 'fastify-plugin'
import { BrokerError, refusals } from '../src/core/errors.ts'
import { requireExactIntegers } from '../src/core/exact-integers.ts'
import { OWN_SCHEMA } from '../src/core/own-schema.ts'
import { requirePlainId } from '../src/core/plain-id.ts'
import { requireStorable } from '../src/core/storable.ts'

/** Types of a route come from its TypeBox schemas. */
export interface TypeBoxTypeProvider extends FastifyTypeProvider {
  validator: this['schema'] extends TSchema ? Static<this['schema']> : unknown
  serializer: this['schema'] extends TSchema ? Static<this['schema']> : unknown
}

const BODY_LIMIT_BYTES = 1024 * 1024
/** The specification has three of them. */
const MAX_QUERY_PARAMETERS = 100

/**
 * What of a request is taken: JSON of bounded size and depth, text that PostgreSQL can store, types as they are. A
 * host's own Ajv options, parsers, formatters and serializers have no effect here.
 */
export const validation = fp(
  async (app) => {
    // Bodies are never coerced: `5` is not `"5"`. A query has only strings, so `true` must become a boolean.
    const bodies = new Ajv({ ...OWN_SCHEMA, allErrors: false, strict: true })
    const queries = new Ajv({ ...OWN_SCHEMA, allErrors: false, strict: true, coerceTypes: true })
    app.setValidatorCompiler(({ schema, httpPart }) =>
      lateValidator(() => (httpPart === 'querystring' ? queries : bodies).compile(schema))
    )
    app.removeAllContentTypeParsers()
    app.addContentTypeParser<Buffer>(
      '*',
      { parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES },
      async (request: FastifyRequest, body: Buffer) => {
        requireJsonType(request.headers['content-type'])
        return parseJson(decode(body))
      }
    )
    app.addHook('preParsing', (request, reply, _payload, done) => {
      if (isPlain(request.headers['content-encoding'])) {
        done()
        return
      }
      reply.header('accept-encoding', 'identity')
      throw new BrokerError(415, 'The body must not be encoded: Content-Encoding may be identity only.')
    })
    app.setSchemaErrorFormatter((errors, where) => new Error(errors.map((fault) => describe(fault, where)).join(', ')))
    const compileSerializer = SerializerSelector()({}, {})
    // Nearly every status of every route has the schema of errors: each schema is compiled once, not once for each of them.
    const serializers = new Map<unknown, ReturnType<typeof compileSerializer>>()
    app.setSerializerCompiler((route) => (body) => {
      const known = serializers.get(route.schema)
      const serializer = known ?? compileSerializer({ ...route, httpStatus: route.httpStatus ?? '' })
      if (known === undefined) serializers.set(route.schema, serializer)
      return serializer(body)
    })
    // A host's reply serializer comes before any schema; only the absence of one restores ours, which its type forbids.
    Reflect.apply(app.setReplySerializer, app, [undefined])
    app.addHook('preValidation', (request, _reply, done) => {
      requirePlain(request.params, () => true)
      requireStorable(request.params, 'path')
      requireStorable(request.query, 'query')
      requireFewParameters(request.query)
      const { bind_resource, previous_values } = Object(request.body)
      for (const part of [request.query, request.body, bind_resource, previous_values]) {
        requirePlain(part, (name) => ID.test(name))
      }
      done()
    })
  },
  { name: 'osb-validation', fastify: '5.x' }
)

/**
 * Compiled with the first request that needs it. Compiling all of them takes a good part of a start, and that they can be
 * compiled is for tests to show, not for each start.
 */
function lateValidator(compile: () => ValidateFunction) {
  let compiled: ValidateFunction | undefined
  const validate = (data: unknown) => {
    compiled ??= compile()
    const isValid = compiled(data)
    validate.errors = compiled.errors ?? null
    return isValid
  }
  validate.errors = null as FastifySchemaValidationError[] | null
  return validate
}

/** Without a content type the body is tried as JSON; any other is 400, not 415 (spec: Content Type). */
function requireJsonType(type: string | undefined): void {
  if (type === undefined || type === '' || /^application\/(?:[\w.-]+\+)?json\s*(?:;|$)/i.test(type)) return
  throw refusals.malformed(`The content type must be application/json, not ${JSON.stringify(type.slice(0, 80))}.`)
}

/** Names of the specification for ids in bodies and queries. All parameters of our paths are ids, whatever their names. */
const ID = /_(?:id|guid)$/

function requirePlain(part: unknown, isId: (name: string) => boolean): void {
  if (typeof part !== 'object' || part === null) return
  for (const [name, id] of Object.entries(part)) if (typeof id === 'string' && isId(name)) requirePlainId(name, id)
}

function requireFewParameters(query: unknown): void {
  const values = Object.values(Object(query))
  // Of a parameter that is repeated, the value is an array.
  if (values.length === 0 || values.flat().length <= MAX_QUERY_PARAMETERS) return
  throw refusals.malformed(`The query has more than ${MAX_QUERY_PARAMETERS} parameters.`)
}

/** Nothing is ever inflated: a few bytes can become gigabytes (RFC 9110, 15.5.16). */
function isPlain(encoding: string | undefined): boolean {
  return encoding === undefined || /^(?:identity)?$/i.test(encoding.trim())
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Half a character would be stored as U+FFFD, and the next identical request would be another one. */
function decode(body: Buffer): string {
  try {
    return utf8.decode(body)
  } catch (error) {
    throw new BrokerError(400, 'The body is not valid UTF-8.', { cause: error })
  }
}

function describe({ instancePath, message = 'is not valid' }: FastifySchemaValidationError, where: string): string {
  return `${where}${instancePath} ${message}`
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
  // First, because it bounds the depth that the check of integers descends to.
  requireStorable(value, 'body')
  requireExactIntegers(text, 'body')
  return value
}
