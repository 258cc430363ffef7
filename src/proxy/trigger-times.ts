import type { EndpointSlice } from '../api/discovery-v1.ts';

/** When the Pod or Service changed that made the control plane change the slice, RFC 3339. */
export const triggerTimeAnnotation = 'endpoints.kubernetes.io/last-change-trigger-time';

/** More than change between two syncs; what is above is not measured. */
const maxTimes = 1_000;

/** Remembers when the changes happened that the kernel is about to get. Those from before keelson began were somebody else's. */
export class TriggerTimes {
  readonly #since: number;
  #times: number[] = [];

  /** `since`: milliseconds since the epoch. */
  constructor(since: number) {
    this.#since = since;
  }

  add(slice: EndpointSlice): void {
    const at = Date.parse(slice.metadata.annotations?.[triggerTimeAnnotation] ?? '');
    if (at >= this.#since && this.#times.length < maxTimes) this.#times.push(at);
  }

  /** They are the caller's now. */
  take(): readonly number[] {
    const times = this.#times;
    if (times.length > 0) this.#times = [];
    return times;
  }

  /** Puts back what did not reach the kernel. */
  putBack(times: readonly number[]): void {
    this.#times = [...times, ...this.#times].slice(0, maxTimes);
  }
}
