/** What one platform may see and have. What is absent limits nothing. */
export interface PlatformRules {
  /** What it sees of the catalog, by names: a service offering with all its plans, or with those named. */
  readonly catalog?: readonly { readonly service: string; readonly plans?: readonly string[] }[]
  /** How many instances of a plan it may have at once. */
  readonly quotas?: readonly { readonly service: string; readonly plan: string; readonly instances: number }[]
}

/** The rules of a platform by its name, as they are now: a reload replaces them. */
export type PlatformRulesOf = (platform: string) => PlatformRules
