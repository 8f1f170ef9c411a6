import { Ajv, type AnySchemaObject, type ErrorObject, type Options, type ValidateFunction } from 'ajv'
import { Ajv2019 } from 'ajv/dist/2019.js'
import { Ajv2020 } from 'ajv/dist/2020.js'
import draft06 from 'ajv/dist/refs/json-schema-draft-06.json' with { type: 'json' }
import draft04 from 'ajv-draft-04'
import formats, { type FormatName } from 'ajv-formats'
import { linearPatterns } from './linear-pattern.ts'
import { stepCounter, withSteps } from './steps.ts'
import { uniqueItems } from './unique-items.ts'

/** The drafts of JSON Schema that a catalog may use, oldest first. */
export const DRAFTS = ['draft-04', 'draft-06', 'draft-07', '2019-09', '2020-12'] as const
export type Draft = (typeof DRAFTS)[number]

/** Of each draft, the value of `$schema`; an empty fragment may follow. */
export const DRAFT_IDS: Readonly<Record<Draft, string>> = {
  'draft-04': 'http://json-schema.org/draft-04/schema',
  'draft-06': 'http://json-schema.org/draft-06/schema',
  'draft-07': 'http://json-schema.org/draft-07/schema',
  '2019-09': 'https://json-schema.org/draft/2019-09/schema',
  '2020-12': 'https://json-schema.org/draft/2020-12/schema'
}

/** The formats of the specification of JSON Schema. Ajv's own additions stay out: its `url` is quadratic. */
const FORMATS: FormatName[] = [
  'date',
  'time',
  'date-time',
  'duration',
  'uri',
  'uri-reference',
  'uri-template',
  'email',
  'hostname',
  'ipv4',
  'ipv6',
  'regex',
  'uuid',
  'json-pointer',
  'relative-json-pointer'
]

const metaschemas = new Map<Draft, ValidateFunction>()

/** The draft that a schema declares. */
export function draftOf(schema: { $schema?: unknown }): Draft | undefined {
  const declared = typeof schema.$schema === 'string' ? schema.$schema.replace(/#$/, '') : undefined
  return DRAFTS.find((draft) => DRAFT_IDS[draft] === declared)
}

/** The validator of the draft's own schemas; compiled when first used, with every fault reported. */
export function metaschemaOf(draft: Draft): ValidateFunction {
  const known = metaschemas.get(draft)
  if (known !== undefined) return known
  const ajv = createAjv(draft, { allErrors: true })
  if (draft === 'draft-06') ajv.addMetaSchema(draft06)
  const validate = ajv.getSchema(DRAFT_IDS[draft])
  if (validate === undefined) throw new Error(`Ajv has no metaschema ${DRAFT_IDS[draft]}.`)
  metaschemas.set(draft, validate)
  return validate
}

/** A compiled schema. It throws {@link TooManySteps} when a value takes too long to be checked. */
export interface SchemaCheck {
  (value: unknown): boolean
  /** Of the latest call. */
  errors: ErrorObject[]
}

/**
 * Compiles a schema that its metaschema accepts.
 * @throws {Error} for a reference that leads nowhere, and for whatever else Ajv cannot compile
 */
export function compileSchema(draft: Draft, schema: AnySchemaObject, allErrors: boolean): SchemaCheck {
  // An instance for each schema: in a shared one, the same `$id` in two plans would collide.
  const ajv = createAjv(draft, { allErrors, meta: false, validateSchema: false })
  const steps = stepCounter()
  ajv.addKeyword(steps.definition)
  const validate = ajv.compile(withSteps(schema))
  const check: SchemaCheck = (value) => {
    steps.reset()
    // `$async` has been taken out of it: the answer is no promise.
    const valid = validate(value) === true
    check.errors = validate.errors ?? []
    return valid
  }
  check.errors = []
  return check
}

function createAjv(draft: Draft, options: Options): Ajv {
  const ajv = newAjv(draft, {
    strict: false,
    logger: false,
    verbose: true,
    // A price of 0.07 is a multiple of 0.01, whatever binary floating point says.
    multipleOfPrecision: 9,
    // Up to draft-07 the keywords beside a `$ref` are ignored, by the drafts' own words.
    ignoreKeywordsWithRef: draft.startsWith('draft-'),
    code: { regExp: linearPatterns },
    ...options
  })
  formats.default(ajv, { formats: FORMATS, keywords: false })
  ajv.removeKeyword('uniqueItems')
  ajv.addKeyword(uniqueItems)
  return ajv
}

function newAjv(draft: Draft, options: Options): Ajv {
  if (draft === 'draft-04') return new draft04.default(options)
  if (draft === '2019-09') return new Ajv2019(options)
  return draft === '2020-12' ? new Ajv2020(options) : new Ajv(options)
}
