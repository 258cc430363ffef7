/** How a delay grows: `initialMs`, then doubled up to `maxMs`. */
export interface BackoffPolicy {
  readonly initialMs: number;
  readonly maxMs: number;
}

/** The delay before retry number `failures` (1 = after the first failure), in milliseconds. */
export function backoffDelay(failures: number, policy: BackoffPolicy): number {
  if (failures <= 0) return 0;
  return Math.min(policy.initialMs * 2 ** Math.min(failures - 1, 30), policy.maxMs);
}

/** Spreads a delay over [delay, delay × (1 + factor)], so that many clients do not come back at once. */
export function jittered(delayMs: number, factor: number, random: () => number = Math.random): number {
  return delayMs * (1 + factor * random());
}
