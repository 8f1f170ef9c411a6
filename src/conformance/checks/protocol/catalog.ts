import type { JsonObject } from '../../../../schemas/common.ts'
import { type Finding, toFault } from '../../../core/catalog/faults.ts'
import { outlineOf, schemasOf } from '../../../core/catalog/outline.ts'
import { platformFindings } from '../../../core/catalog/platform-rules.ts'
import { identityFindings, shapeFindings, versionFindings } from '../../../core/catalog/rules.ts'
import { checkSchema, specificationFindings } from '../../../core/catalog/schema-check.ts'
import { type Check, Violation } from '../../check.ts'
import { expectSame, expectStatus } from '../../expect.ts'
import type { Subject } from '../../subject.ts'

const section = 'Catalog Management'

/** Judges the catalog as it is served. */
function judged(find: (catalog: unknown) => readonly Finding[]) {
  return async (subject: Subject) => {
    const { json } = await subject.send({ method: 'GET', path: '/v2/catalog' })
    const findings = find(json)
    if (findings.length === 0) return
    const lines = findings.map((finding) => toFault(json, finding))
    throw new Violation(lines.map(({ path, message }) => `${path} ${message}`).join('\n'))
  }
}

/** What there is to say of each schema in the catalog. */
function ofSchemas(catalog: unknown, find: (schema: JsonObject) => readonly Finding[]): Finding[] {
  const plans = outlineOf(catalog).flatMap((service) => service.plans)
  return plans
    .flatMap(schemasOf)
    .flatMap(({ at, schema }) => find(schema).map((finding) => ({ ...finding, at: [...at, ...finding.at] })))
}

export const catalogChecks: readonly Check[] = [
  {
    id: 'catalog/has-its-shape',
    section,
    level: 'MUST',
    rule: 'Offerings and plans have their mandatory fields, none of them empty, each of its type; an offering has a plan.',
    run: judged(shapeFindings)
  },
  {
    id: 'catalog/ids-and-names-are-unique',
    section,
    level: 'MUST',
    rule: 'Ids of offerings and plans and names of offerings are unique, names of plans within their offering.',
    run: judged((catalog) => identityFindings(catalog, outlineOf(catalog)))
  },
  {
    id: 'catalog/versions-are-semantic',
    section,
    level: 'MUST',
    rule: 'maintenance_info.version conforms to semantic version 2.0.',
    run: judged((catalog) => versionFindings(outlineOf(catalog)))
  },
  {
    id: 'catalog/schemas-are-schemas',
    section: 'Input Parameters Schema Object',
    level: 'MUST',
    rule: 'A schema declares its $schema, refers to nothing outside, and has at most 64 kB.',
    run: judged((catalog) => ofSchemas(catalog, specificationFindings))
  },
  {
    id: 'catalog/platforms-take-it',
    section: 'Platforms',
    level: 'SHOULD',
    rule: 'The catalog keeps what platforms demand beyond the specification: names, lengths, tags, drafts of schemas.',
    run: judged((catalog) => [
      ...platformFindings(catalog, outlineOf(catalog)),
      ...ofSchemas(catalog, (schema) => checkSchema(schema).warnings)
    ])
  },
  {
    id: 'catalog/is-the-same-again',
    section,
    level: 'MUST',
    rule: 'A broker does not change the id of a resource across queries.',
    async run(subject) {
      const idsOf = async () => {
        const answer = await subject.send({ method: 'GET', path: '/v2/catalog' })
        expectStatus(answer, 200, 'the catalog')
        return outlineOf(answer.json).map(({ source, plans }) => [source.id, plans.map((plan) => plan.source.id)])
      }
      const first = await idsOf()
      expectSame(await idsOf(), first, 'ids when the catalog is asked for again')
    }
  },
  {
    id: 'catalog/is-cached-as-it-says',
    section,
    level: 'SHOULD',
    rule: 'Where the catalog carries an ETag, If-None-Match with it is answered 304, and with another 200.',
    async run(subject) {
      const first = await subject.send({ method: 'GET', path: '/v2/catalog' })
      const { etag } = first.headers
      if (etag === undefined) return
      const ask = (tag: string) =>
        subject.send({ method: 'GET', path: '/v2/catalog', headers: { 'if-none-match': tag } })
      expectStatus(await ask(etag), 304, 'the catalog with its own ETag')
      expectStatus(await ask('"conformance"'), 200, 'the catalog with another ETag')
    }
  }
]
