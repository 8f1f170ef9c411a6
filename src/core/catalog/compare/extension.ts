import type { JsonObject } from '../../../../schemas/common.ts'
import { sameJson } from '../../same.ts'
import { objectAt, textAt } from '../outline.ts'
import { type Difference, type OfferingPair, type PlanPair, quoted } from './change.ts'

const PROVIDERS_CHOICE = 'left to the provider'

/** Who makes the instances of an offering. */
export function providerDifferences({ before, after }: OfferingPair): Difference[] {
  const [was = 'the default one', is = 'the default one'] = [before, after].map(({ extension }) =>
    textAt(extension, 'provider')
  )
  if (was === is) return []
  return [
    {
      severity: 'breaks',
      kind: 'x-broker',
      at: [...after.at, 'x-broker', 'provider'],
      message: `is ${quoted(is)}, and was ${quoted(was)}`,
      consequence:
        'Instances that live stay with the provider that made them, whose updates and binds now get the options meant ' +
        'for the other; new ones are made by the new provider'
    }
  ]
}

/** What this broker does differently for a plan. */
export function extensionDifferences({ before, after }: PlanPair): Difference[] {
  const at = (key: string) => [...after.at, 'x-broker', key]
  const [was, is] = [before.extension, after.extension]
  return [
    ...modeDifferences(was, is).map((found) => ({ ...found, kind: 'x-broker' as const, at: at('mode') })),
    ...appDifferences(was, is).map((found) => ({ ...found, kind: 'x-broker' as const, at: at('requires_app') })),
    ...endpointDifferences(was, is).map((found) => ({ ...found, kind: 'x-broker' as const, at: at('endpoints') })),
    ...keepDifferences(was, is).map((found) => ({ ...found, kind: 'x-broker' as const, at: at('keep_credentials') })),
    ...optionDifferences(was, is).map((found) => ({ ...found, kind: 'x-broker' as const, at: at('options') }))
  ]
}

type Said = Pick<Difference, 'severity' | 'message' | 'consequence'>

const MODES: Record<string, string> = {
  sync: 'Requests are answered when the work is done; what takes longer than they may wait is undone and answered 504 where the platform cannot poll',
  async:
    'Platforms that cannot poll are refused (422 AsyncRequired), on updates and deletes of instances that live too',
  either: 'Platforms that can poll are answered 202 and have to'
}

function modeDifferences(before: JsonObject, after: JsonObject): Said[] {
  const [was = PROVIDERS_CHOICE, is = PROVIDERS_CHOICE] = [before, after].map((extension) => textAt(extension, 'mode'))
  if (was === is) return []
  const severity = is === 'async' ? 'breaks' : 'changes'
  const consequence = MODES[is] ?? 'Whether requests are answered at once or 202 may change'
  return [{ severity, message: `is ${is}, and was ${was}`, consequence }]
}

function appDifferences(before: JsonObject, after: JsonObject): Said[] {
  const [was, is] = [before.requires_app === true, after.requires_app === true]
  if (was === is) return []
  return is
    ? [
        {
          severity: 'breaks',
          message: 'is true, and was false',
          consequence: 'A bind without an app, such as that of a service key, is refused (422 RequiresApp)'
        }
      ]
    : [{ severity: 'adds', message: 'is false, and was true', consequence: 'A bind needs no app any more' }]
}

function endpointDifferences(before: JsonObject, after: JsonObject): Said[] {
  const [was, is] = [before.endpoints === true, after.endpoints === true]
  if (was === is) return []
  return is
    ? [
        {
          severity: 'changes',
          message: 'is true, and was false',
          consequence: 'New bindings carry endpoints, which the Go client of Kubernetes cannot read: there binds fail'
        }
      ]
    : [
        {
          severity: 'changes',
          message: 'is false, and was true',
          consequence: 'New bindings carry no endpoints; those that exist keep theirs'
        }
      ]
}

function keepDifferences(before: JsonObject, after: JsonObject): Said[] {
  const [was, is] = [before.keep_credentials !== false, after.keep_credentials !== false]
  if (was === is) return []
  return is
    ? [
        {
          severity: 'changes',
          message: 'is true, and was false',
          consequence: 'Credentials of new bindings are kept, and can be fetched again; those that exist stay without'
        }
      ]
    : [
        {
          severity: 'changes',
          message: 'is false, and was true',
          consequence: 'Credentials of new bindings are answered once; those that exist are kept until their unbind'
        }
      ]
}

function optionDifferences(before: JsonObject, after: JsonObject): Said[] {
  const [was, is] = [objectAt(before, 'options'), objectAt(after, 'options')]
  const keys = [...new Set([...Object.keys(was), ...Object.keys(is)])].filter((key) => !sameJson(was[key], is[key]))
  if (keys.length === 0) return []
  const consequence =
    'The provider gets them from now on; what it does not apply to instances that live, their next update may'
  return [{ severity: 'changes', message: `differ in ${keys.map(quoted).join(', ')}`, consequence }]
}
