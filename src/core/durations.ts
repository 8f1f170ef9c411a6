/** How long an asynchronous operation may take if its plan names no `maximum_polling_duration`. */
export const DEFAULT_MAXIMUM_SECONDS = 3600

/** How long an asynchronous operation on a plan may take, in milliseconds. */
export function maximumMsOf(plan: { readonly maximumPollingSeconds?: number | undefined } | undefined): number {
  return (plan?.maximumPollingSeconds ?? DEFAULT_MAXIMUM_SECONDS) * 1000
}
