import { type PlanOutline, type ServiceOutline, textAt } from '../outline.ts'
import { type Difference, type OfferingPair, type PlanPair, quoted } from './change.ts'

/** A difference, and whose it is. */
export type Identified = Difference & { serviceId: string }

/** An offering that both catalogs have, with the plans that both have. */
export interface Kept {
  offering: OfferingPair
  plans: PlanPair[]
}

/** Which offerings and plans are the same by their ids, and which came, went, moved, or took another's name. */
export function identityDifferences(
  before: readonly ServiceOutline[],
  after: readonly ServiceOutline[]
): { differences: Identified[]; kept: Kept[] } {
  const offerings = match(before, after)
  const moves = new Map(movesBetween(before, after, offerings))
  const differences = [
    ...differencesOf(offerings, 'offering', before).map((found) => ({ serviceId: found.id, ...withoutId(found) })),
    ...moves.values()
  ]
  const kept = offerings.both.map((offering) => {
    const stays = (plan: PlanOutline) => !moves.has(idOf(plan))
    const plans = match(offering.before.plans.filter(stays), offering.after.plans.filter(stays))
    const serviceId = idOf(offering.after)
    for (const found of differencesOf(plans, 'plan', offering.before.plans)) {
      differences.push({ serviceId, planId: found.id, ...withoutId(found) })
    }
    return { offering, plans: plans.both.map((plan) => ({ offering, ...plan })) }
  })
  return { differences, kept }
}

type Entry = Pick<PlanOutline, 'at' | 'source'>

interface Matched<T extends Entry> {
  both: { before: T; after: T }[]
  /** The heir has the name under an id that is new. */
  gone: { before: T; heir: T | undefined }[]
  come: T[]
}

function match<T extends Entry>(before: readonly T[], after: readonly T[]): Matched<T> {
  const old = new Map(before.map((entry) => [idOf(entry), entry]))
  const next = new Map(after.map((entry) => [idOf(entry), entry]))
  const isNew = (entry: T) => !old.has(idOf(entry))
  const gone = before
    .filter((entry) => !next.has(idOf(entry)))
    .map((entry) => ({ before: entry, heir: after.find((other) => isNew(other) && nameOf(other) === nameOf(entry)) }))
  const heirs = new Set(gone.map(({ heir }) => heir))
  return {
    both: before.flatMap((entry) => {
      const same = next.get(idOf(entry))
      return same === undefined ? [] : [{ before: entry, after: same }]
    }),
    gone,
    come: after.filter((entry) => isNew(entry) && !heirs.has(entry))
  }
}

type Noun = 'offering' | 'plan'
type Found = Difference & { id: string }

function withoutId({ id: _id, ...difference }: Found): Difference {
  return difference
}

function differencesOf<T extends Entry>({ both, gone, come }: Matched<T>, noun: Noun, before: readonly T[]): Found[] {
  return [
    ...gone.map(({ before: old, heir }) => ({ id: idOf(old), ...departure(old, heir, noun) })),
    ...both.flatMap((pair) => renaming(pair, noun, before).map((found) => ({ id: idOf(pair.before), ...found }))),
    ...come.map((entry) => ({ id: idOf(entry), ...arrival(entry, noun) }))
  ]
}

const LIVING =
  'Instances that live can still be fetched, unbound and deleted, but no longer bound or updated (400); while there ' +
  'are any, this broker does not load such a catalog on SIGHUP. Platforms may restrict more'

function departure(old: Entry, heir: Entry | undefined, noun: Noun): Difference {
  if (heir === undefined) {
    return {
      severity: 'breaks',
      kind: `${noun}-removed`,
      at: old.at,
      side: 'before',
      message: 'was removed',
      consequence: LIVING
    }
  }
  return {
    severity: 'breaks',
    kind: `${noun}-id-changed`,
    at: [...heir.at, 'id'],
    message: `is ${quoted(idOf(heir))}, and was ${quoted(idOf(old))}`,
    consequence: `To platforms it is another ${noun}, and the old one was removed. ${LIVING}`
  }
}

function arrival(entry: Entry, noun: Noun): Difference {
  const message = 'is new'
  const consequence = `Platforms offer it once they have fetched the catalog${noun === 'plan' ? '' : ', where it is enabled'}`
  return { severity: 'adds', kind: `${noun}-added`, at: entry.at, message, consequence }
}

function renaming({ before, after }: { before: Entry; after: Entry }, noun: Noun, all: readonly Entry[]): Difference[] {
  const [oldName, newName] = [nameOf(before), nameOf(after)]
  if (oldName === newName) return []
  const at = [...after.at, 'name']
  const owner = all.find((entry) => nameOf(entry) === newName)
  if (owner === undefined) {
    const message = `is ${quoted(newName)}, and was ${quoted(oldName)}`
    const consequence = 'Instances live on under the new name; users and scripts that write the old one do not find it'
    return [{ severity: 'changes', kind: `${noun}-renamed`, at, message, consequence }]
  }
  return [
    {
      severity: 'breaks',
      kind: `${noun}-id-reused`,
      at,
      message: `is ${quoted(newName)}, whose id was ${quoted(idOf(owner))}; ${quoted(idOf(after))} was the id of ${quoted(oldName)}`,
      consequence: `Instances of ${quoted(oldName)} that live are taken for instances of ${quoted(newName)}`
    }
  ]
}

/** Plans under another offering; of one that goes on under another id all is said with that. */
function movesBetween(
  before: readonly ServiceOutline[],
  after: readonly ServiceOutline[],
  { gone }: Matched<ServiceOutline>
): [string, Identified][] {
  const homes = new Map(before.flatMap((service) => service.plans.map((plan) => [idOf(plan), service] as const)))
  return after.flatMap((service) =>
    service.plans.flatMap((plan): [string, Identified][] => {
      const home = homes.get(idOf(plan))
      const isHere = home !== undefined && idOf(home) === idOf(service)
      if (home === undefined || isHere || gone.some((entry) => entry.before === home && entry.heir === service))
        return []
      return [[idOf(plan), move(plan, home, service)]]
    })
  )
}

function move(plan: PlanOutline, home: ServiceOutline, service: ServiceOutline): Identified {
  return {
    severity: 'breaks',
    kind: 'plan-moved',
    at: plan.at,
    serviceId: idOf(service),
    planId: idOf(plan),
    message: `is a plan of ${quoted(nameOf(service))}, and was one of ${quoted(nameOf(home))}`,
    consequence: `${LIVING}; deletes too are refused (400) where a platform sends the id of the new offering with them`
  }
}

function idOf({ source }: Entry): string {
  return textAt(source, 'id') ?? ''
}

function nameOf({ source }: Entry): string {
  return textAt(source, 'name') ?? ''
}
