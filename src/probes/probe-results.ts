import type { ContainerId } from '../api/ids.ts';

export type ProbeType = 'liveness' | 'readiness' | 'startup';

/** What a container's probe has come to, after its thresholds. */
export interface ProbeResult {
  readonly verdict: 'success' | 'failure';
  /** The last answer, as a person would want to read it; empty for a success that said nothing. */
  readonly message: string;
  /** Since when the verdict is what it is, milliseconds since the epoch. */
  readonly since: number;
}

/** How decisions see the probes of one container; undefined where there is no result yet, or no such probe. */
export type ProbeView = (container: ContainerId, type: ProbeType) => ProbeResult | undefined;

/** What a probe said last, whether it counted or not: one answer may not change a verdict yet, but tells why it may. */
export interface LastAnswer {
  readonly kind: 'success' | 'warning' | 'failure' | 'error' | 'starved';
  readonly message: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** For pods without probes, and for tests. */
export const noProbes: ProbeView = () => undefined;
