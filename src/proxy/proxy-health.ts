import type { Node } from '../api/core-v1.ts';
import type { Clock } from '../lib/clock.ts';

/** The cluster autoscaler is about to remove the node: load balancers should look for another. */
const toBeDeletedTaint = 'ToBeDeletedByClusterAutoscaler';

/**
 * Whether the kernel keeps up with Services: unhealthy when something has waited for it too long. Before anything
 * changed there is nothing to wait for, so a proxy that starts is healthy.
 */
export class ProxyHealth {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  #pendingSince: number | undefined;
  /** Milliseconds since the epoch; 0 = never. */
  #updatedAt = 0;

  /** `timeoutMs`: how long a change may wait; upstream gives it twice the sync period. */
  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** Something has to be brought to the kernel. */
  queued(): void {
    this.#pendingSince ??= this.#clock.monotonic();
  }

  /** The kernel has everything. */
  updated(): void {
    this.#pendingSince = undefined;
    this.#updatedAt = this.#clock.now();
  }

  get healthy(): boolean {
    return this.#pendingSince === undefined || this.#clock.monotonic() - this.#pendingSince < this.#timeoutMs;
  }

  get updatedAt(): number {
    return this.#updatedAt;
  }
}

export interface HealthReport {
  readonly status: 200 | 503;
  readonly text: string;
}

/** What `/healthz` (with a node) or `/livez` (without) says. While all is well it was updated now, as upstream has it. */
export function healthReport(
  health: Pick<ProxyHealth, 'healthy' | 'updatedAt'>,
  now: number,
  eligible?: boolean,
): HealthReport {
  const healthy = health.healthy && eligible !== false;
  const lastUpdated = JSON.stringify(goTime(healthy ? now : health.updatedAt));
  const node = eligible === undefined ? '' : `, "nodeEligible": ${eligible}`;
  const text = `{"lastUpdated": ${lastUpdated},"currentTime": ${JSON.stringify(goTime(now))}${node}}`;
  return { status: healthy ? 200 : 503, text };
}

/** Whether new connections should be sent to the node. One that is not known yet counts as there to stay. */
export function isEligible(node: Node | undefined): boolean {
  if (!node) return true;
  const leaving = node.spec?.taints?.some((taint) => taint.key === toBeDeletedTaint) === true;
  return !leaving && node.metadata.deletionTimestamp === undefined;
}

/** As Go prints a time: '2026-01-01 00:00:00.5 +0000 UTC'. */
function goTime(ms: number): string {
  if (ms === 0) return '0001-01-01 00:00:00 +0000 UTC';
  const [, date, time, fraction = ''] = /^(.*)T([\d:]+)\.(\d+)Z$/.exec(new Date(ms).toISOString()) ?? [];
  const digits = fraction.replace(/0+$/, '');
  return `${date} ${time}${digits ? `.${digits}` : ''} +0000 UTC`;
}
