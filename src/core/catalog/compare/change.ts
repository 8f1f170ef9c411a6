import type { JsonObject } from '../../../../schemas/common.ts'
import type { Place } from '../faults.ts'
import type { PlanOutline, ServiceOutline } from '../outline.ts'

/**
 * How much a change matters to those who use the catalog already. `breaks`: something that worked is refused or lost;
 * `changes`: it works on, differently; `adds`: more is possible than before.
 */
export type ChangeSeverity = 'breaks' | 'changes' | 'adds'

/** What is different, in a word that programs may rely on. */
export type ChangeKind =
  | 'offering-added'
  | 'offering-removed'
  | 'offering-id-changed'
  | 'offering-id-reused'
  | 'offering-renamed'
  | 'plan-added'
  | 'plan-removed'
  | 'plan-id-changed'
  | 'plan-id-reused'
  | 'plan-moved'
  | 'plan-renamed'
  | 'bindable'
  | 'plan_updateable'
  | 'binding_rotatable'
  | 'instances_retrievable'
  | 'bindings_retrievable'
  | 'allow_context_updates'
  | 'requires'
  | 'tags'
  | 'dashboard_client'
  | 'free'
  | 'maximum_polling_duration'
  | 'maintenance_info'
  | 'schemas'
  | 'x-broker'

/** One difference between two catalogs that somebody may notice. */
export interface CatalogChange {
  severity: ChangeSeverity
  kind: ChangeKind
  /** Where, with the names of offering and plan: `services[0:postgres].plans[1:pro].bindable`. */
  path: string
  /** The same as keys and indices. */
  at: Place
  /** In which of the catalogs that is: what was removed is in the one before only. */
  side: 'before' | 'after'
  serviceId: string
  /** Of a change of one plan. */
  planId?: string
  /** What is different. */
  message: string
  /** Who notices, and what they see. */
  consequence: string
}

/** A change before its place is written out. */
export type Difference = Omit<CatalogChange, 'path' | 'side' | 'serviceId'> & Partial<Pick<CatalogChange, 'side'>>

/** One offering, by its id in both catalogs. */
export interface OfferingPair {
  before: ServiceOutline
  after: ServiceOutline
}

/** One plan, by its id in both catalogs, in one offering. */
export interface PlanPair {
  offering: OfferingPair
  before: PlanOutline
  after: PlanOutline
}

/** A text in a message. */
export function quoted(text: unknown): string {
  return JSON.stringify(text) ?? 'nothing'
}

/** The texts of a field that may be missing. */
export function textsAt(source: JsonObject, key: string): string[] {
  const value = source[key]
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}
