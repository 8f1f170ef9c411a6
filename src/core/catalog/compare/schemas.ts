import type { JsonObject } from '../../../../schemas/common.ts'
import { sameJson } from '../../same.ts'
import { draftOf } from '../drafts.ts'
import { isJsonObject, writePlace } from '../faults.ts'
import { objectAt, type PlanOutline, textAt } from '../outline.ts'
import { compileParametersCheck } from '../parameters.ts'
import type { Difference, PlanPair } from './change.ts'
import type { Identified } from './identity.ts'
import { type Drafts, type Narrowing, narrowings } from './narrowing.ts'
import { samplesOf } from './samples.ts'

const MAX_SHOWN = 5

/** Where plans have schemas (spec: Schemas Object), and which requests they are about. */
const SCHEMAS = [
  ['service_instance', 'create', 'Provisions'],
  ['service_instance', 'update', 'Updates of instances that live'],
  ['service_binding', 'create', 'Binds']
] as const

type Verdict = Pick<Difference, 'severity' | 'message' | 'consequence'>

/** What is different of the parameters that plans take; plans that share a schema are said once. */
export function schemaDifferences(plans: readonly PlanPair[]): Identified[] {
  const verdicts = new Map<string, Verdict | undefined>()
  const found = new Map<string, Identified[]>()
  for (const pair of plans) {
    for (const [resource, verb, requests] of SCHEMAS) {
      const was = parametersOf(pair.before, resource, verb)
      const is = parametersOf(pair.after, resource, verb)
      if (sameJson(was, is)) continue
      const key = JSON.stringify([resource, verb, was, is])
      if (!verdicts.has(key)) verdicts.set(key, verdictOf(was, is, requests))
      const verdict = verdicts.get(key)
      if (verdict === undefined) continue
      const at = [...pair.after.at, 'schemas', resource, verb, 'parameters']
      const serviceId = textAt(pair.offering.after.source, 'id') ?? ''
      const planId = textAt(pair.after.source, 'id') ?? ''
      found.set(key, [...(found.get(key) ?? []), { ...verdict, kind: 'schemas', at, serviceId, planId }])
    }
  }
  return [...found.values()].flatMap(([first, ...others]) => {
    if (first === undefined) return []
    const plans = others.length === 1 ? '1 other plan' : `${others.length} other plans`
    return [others.length === 0 ? first : { ...first, message: `${first.message} (the same in ${plans})` }]
  })
}

function parametersOf(plan: PlanOutline, resource: string, verb: string): JsonObject | undefined {
  const { parameters } = objectAt(objectAt(objectAt(plan.source, 'schemas'), resource), verb)
  return isJsonObject(parameters) ? parameters : undefined
}

/** `undefined` when the same parameters are taken. */
function verdictOf(was: JsonObject | undefined, is: JsonObject | undefined, requests: string): Verdict | undefined {
  if (is === undefined) return wider('was removed: any parameters are taken', requests)
  const after = draftOf(is)
  const before = was === undefined ? after : draftOf(was)
  if (before === undefined || after === undefined) return unsure('has changed', requests)
  const drafts = { before, after }
  const found = narrowings(was ?? {}, is, drafts)
  if (found.length === 0) {
    const back = narrowings(is, was ?? {}, { before: after, after: before })
    return back.length === 0 ? undefined : wider('takes more than it did', requests)
  }
  const shown = found.slice(0, MAX_SHOWN).map(toText).join('; ')
  const more = found.length > MAX_SHOWN ? `; and ${found.length - MAX_SHOWN} more` : ''
  const answer = refusalOf(was ?? {}, is, drafts)
  const verb = was === undefined ? 'is new' : answer === undefined ? 'has changed' : 'takes less than it did'
  const message = `${verb}: ${shown}${more}`
  if (answer === undefined) return unsure(message, requests)
  return {
    severity: 'breaks',
    message,
    consequence: `${requests} that were accepted are refused (400), for example: ${answer}`
  }
}

function unsure(message: string, requests: string): Verdict {
  return { severity: 'changes', message, consequence: `${requests} that were accepted may be refused (400)` }
}

function wider(message: string, requests: string): Verdict {
  return { severity: 'adds', message, consequence: `${requests} that were refused may be accepted` }
}

/** The refusal of parameters that were accepted: the proof that there are such. */
function refusalOf(was: JsonObject, is: JsonObject, drafts: Drafts): string | undefined {
  try {
    const takes = compileParametersCheck(drafts.before, was)
    const takesStill = compileParametersCheck(drafts.after, is)
    for (const sample of samplesOf({ ...was, type: 'object' }, is, drafts)) {
      if (!isJsonObject(sample) || takes(sample) !== undefined) continue
      const refusal = takesStill(sample)
      if (refusal !== undefined) return refusal
    }
    return undefined
  } catch {
    // The catalog before may come from another broker, with what this one cannot run: nothing can be shown.
    return undefined
  }
}

function toText({ at, message }: Narrowing): string {
  return at.length === 0 ? message : `${writePlace(at)} ${message}`
}
