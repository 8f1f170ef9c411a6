import type { JsonObject } from '../../../schemas/common.ts'
import { DRAFT_IDS, DRAFTS, type Draft, draftOf, metaschemaOf } from './drafts.ts'
import { explain } from './explain.ts'
import { type Finding, shorten } from './faults.ts'
import { compilePattern } from './linear-pattern.ts'
import { compileParametersCheck, type ParametersCheck } from './parameters.ts'
import { type Subschema, subschemas } from './schema-walk.ts'

/** spec: Input Parameters Schema Object, "MUST NOT be larger than 64kB". */
const MAX_SCHEMA_BYTES = 65_536

/** What the check of one `parameters` schema came to; places are within the schema. */
export interface SchemaVerdict {
  errors: Finding[]
  warnings: Finding[]
  /** Present when there are no errors. */
  check?: ParametersCheck
}

/** Checks a schema for request parameters and compiles it (spec: Input Parameters Schema Object). */
export function checkSchema(schema: JsonObject): SchemaVerdict {
  const size = sizeFindings(schema)
  const draft = draftOf(schema)
  if (draft === undefined) return { errors: [...size, unknownDraft(schema)], warnings: [] }
  const errors = [...size, ...metaschemaFindings(draft, schema), ...walkFindings(schema)]
  const warnings = cloudControllerFindings(draft, schema)
  if (errors.length > 0) return { errors, warnings }
  try {
    return { errors, warnings, check: compileParametersCheck(draft, withoutAsync(schema)) }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    return { errors: [{ at: [], message: `cannot be used: ${shorten(reason, 300)}` }], warnings }
  }
}

/** What of a schema the specification itself forbids: a draft or a pattern that only we cannot use is no breach of it. */
export function specificationFindings(schema: JsonObject): Finding[] {
  const draft = draftOf(schema)
  const parts = [...subschemas(schema)]
  const ids = idsIn(parts)
  return [
    ...sizeFindings(schema),
    ...(schema.$schema === undefined ? [unknownDraft(schema)] : []),
    ...(draft === undefined ? [] : metaschemaFindings(draft, schema)),
    ...parts.flatMap((subschema) => referenceFindings(subschema, ids))
  ]
}

function sizeFindings(schema: JsonObject): Finding[] {
  const bytes = Buffer.byteLength(JSON.stringify(schema))
  if (bytes <= MAX_SCHEMA_BYTES) return []
  return [{ at: [], message: `must have at most ${MAX_SCHEMA_BYTES} bytes, has ${bytes}` }]
}

function unknownDraft(schema: JsonObject): Finding {
  const allowed = DRAFTS.map((draft) => `${DRAFT_IDS[draft]}${draft.startsWith('draft-') ? '#' : ''}`).join(', ')
  const given =
    schema.$schema === undefined
      ? 'is required'
      : `is not a known draft: ${shorten(JSON.stringify(schema.$schema), 100)}`
  const message = `${given}; known are ${allowed}`
  return schema.$schema === undefined ? { at: ['$schema'], message } : { at: ['$schema'], message, ours: true }
}

function metaschemaFindings(draft: Draft, schema: JsonObject): Finding[] {
  const validate = metaschemaOf(draft)
  validate(schema)
  return explain(validate.errors ?? [], true)
}

/** Rules about keywords, wherever in the schema they stand. */
function walkFindings(schema: JsonObject): Finding[] {
  const all = [...subschemas(schema)]
  const ids = idsIn(all)
  return all.flatMap((subschema) => [...referenceFindings(subschema, ids), ...patternFindings(subschema)])
}

function idsIn(all: readonly Subschema[]): ReadonlySet<string> {
  return new Set(all.flatMap(({ schema: { $id, id } }) => [$id, id].filter((value) => typeof value === 'string')))
}

function referenceFindings({ at, schema }: Subschema, ids: ReadonlySet<string>): Finding[] {
  return ['$ref', '$dynamicRef', '$recursiveRef'].flatMap((keyword) => {
    const reference = schema[keyword]
    if (typeof reference !== 'string' || reference.startsWith('#') || ids.has(documentOf(reference))) return []
    const message = `must not refer to anything outside the schema, got ${shorten(JSON.stringify(reference), 100)}`
    return [{ at: [...at, keyword], message }]
  })
}

function documentOf(reference: string): string {
  return reference.split('#', 1)[0] ?? ''
}

function patternFindings({ at, schema }: Subschema): Finding[] {
  const { pattern, patternProperties } = schema
  const findings = typeof pattern === 'string' ? tryPattern(pattern, [...at, 'pattern']) : []
  if (typeof patternProperties !== 'object' || patternProperties === null) return findings
  const keys = Object.keys(patternProperties)
  return [...findings, ...keys.flatMap((key) => tryPattern(key, [...at, 'patternProperties', key]))]
}

function tryPattern(pattern: string, at: Finding['at']): Finding[] {
  try {
    compilePattern(pattern)
    return []
  } catch (error) {
    return [{ at, message: error instanceof Error ? error.message : String(error), ours: true }]
  }
}

/** Cloud Controller takes draft-04 and draft-06 only, and checks both against the metaschema of draft-04. */
function cloudControllerFindings(draft: Draft, schema: JsonObject): Finding[] {
  if (draft === 'draft-04') return []
  if (draft !== 'draft-06') {
    return [{ at: ['$schema'], message: `is ${draft}: Cloud Controller takes draft-04 and draft-06 only` }]
  }
  return metaschemaFindings('draft-04', schema).map(({ at, message }) => ({
    at,
    message: `${message} by draft-04, which Cloud Controller checks draft-06 against as well`
  }))
}

/** `$async` is Ajv's own and would turn the check into a promise; to JSON Schema it is an unknown keyword. */
function withoutAsync(schema: JsonObject): JsonObject {
  const copy = structuredClone(schema)
  for (const subschema of subschemas(copy)) delete subschema.schema.$async
  return copy
}
