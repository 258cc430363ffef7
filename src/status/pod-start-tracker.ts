import type { Pod, PodStatus } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { isOver } from '../api/pod.ts';
import type { Clock } from '../lib/clock.ts';
import type { Gauge, Histogram, Registry } from '../lib/metrics.ts';
import type { DesiredPod } from '../pod/pod-manager.ts';

export interface PodStartMetrics {
  /** From when keelson first saw the pod until its status said Running. */
  readonly sinceSeen: Histogram;
  /** From its creation until the API server said that all containers run. */
  readonly total: Histogram;
  /** The same without what the cluster cannot promise: pulls and init containers. */
  readonly sli: Histogram;
  readonly firstWithNetwork: Gauge;
}

const buckets = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
];

export function podStartMetrics(registry: Registry): PodStartMetrics {
  const histogram = (name: string, help: string) =>
    registry.histogram({ name: `kubelet_pod_start_${name}_seconds`, help, buckets });
  return {
    sinceSeen: histogram('duration', 'Time from seeing a pod to its running.'),
    total: histogram('total_duration', 'Time from the creation of a pod to its running, seen from the API server.'),
    sli: histogram('sli_duration', 'The same without pulls and init containers, for pods without state.'),
    firstWithNetwork: registry.gauge({
      name: 'kubelet_first_network_pod_start_sli_duration_seconds',
      help: 'The same for the first pod with a network of its own.',
    }),
  };
}

/** Moments of one start, milliseconds since the epoch; 0 = not yet. */
interface Start {
  pullFrom: number;
  pullTo: number;
  running: boolean;
  measured: boolean;
}

/**
 * Measures how long pods take to start: a static pod until it runs, any other until the API server says so. Pods that had begun before this process did are not measured, because nobody saw them begin.
 */
export class PodStartTracker {
  readonly #metrics: PodStartMetrics;
  readonly #clock: Clock;
  readonly #starts = new Map<PodUid, Start>();
  #networkSeen = false;

  constructor(metrics: PodStartMetrics, clock: Clock) {
    this.#metrics = metrics;
    this.#clock = clock;
  }

  /** The pod as its source has it: called with each of its changes. Undefined: nobody wants it any more. */
  saw(uid: PodUid, desired: DesiredPod | undefined): void {
    const start = this.#starts.get(uid);
    const status = desired?.pod.status;
    if (!desired || isOver(status)) this.#starts.delete(uid);
    else if (!start) this.#begin(desired);
    else if (start.running && !start.measured && desired.source === 'api' && allRunning(status)) {
      start.measured = true;
      this.#measure(desired.pod, start);
    }
  }

  /** What keelson derived of the pod. */
  derived(desired: DesiredPod | undefined, status: PodStatus | undefined): void {
    const start = desired && this.#starts.get(desired.uid);
    if (!start || start.running || status?.phase !== 'Running') return;
    start.running = true;
    this.#metrics.sinceSeen.observe(Math.max(0, this.#clock.now() - desired.seenAt) / 1000);
  }

  pulled(uid: PodUid, from: number, to: number): void {
    const start = this.#starts.get(uid);
    if (!start) return;
    if (start.pullFrom === 0) start.pullFrom = from;
    start.pullTo = to;
  }

  #begin({ uid, pod }: DesiredPod): void {
    // Whoever gave it a start time was here before us.
    if (pod.status?.startTime !== undefined) return;
    this.#starts.set(uid, { pullFrom: 0, pullTo: 0, running: false, measured: false });
  }

  #measure(pod: Pod, start: Start): void {
    const now = this.#clock.now();
    const created = Date.parse(pod.metadata.creationTimestamp ?? '');
    if (Number.isNaN(created)) return;
    this.#metrics.total.observe(Math.max(0, now - created) / 1000);
    if (isStateful(pod)) return;
    const seconds = sliMs({ created, now, pull: [start.pullFrom, start.pullTo], init: initSpan(pod.status) }) / 1000;
    this.#metrics.sli.observe(seconds);
    if (pod.spec.hostNetwork || this.#networkSeen) return;
    this.#networkSeen = true;
    this.#metrics.firstWithNetwork.set(seconds);
  }
}

type Span = readonly [from: number, to: number];

/**
 * How long the start took without the time from the first pull to the last, and from the first init container to
 * the end of the last. Milliseconds; a span that begins with 0 did not happen.
 */
export function sliMs(moments: { created: number; now: number; pull: Span; init: Span }): number {
  const { created, now } = moments;
  const spans = [moments.pull, moments.init].filter(([from]) => from > 0).sort(([a], [b]) => a - b);
  let counted = 0;
  let at = created;
  for (const [from, to] of spans) {
    counted += Math.max(0, from - at);
    at = Math.max(at, to);
  }
  return counted + Math.max(0, now - at);
}

function initSpan(status: PodStatus | undefined): Span {
  const ended = (status?.initContainerStatuses ?? []).flatMap(({ state }) =>
    state?.terminated ? [state.terminated] : [],
  );
  const times = (list: readonly (string | undefined)[]) => list.map((t) => Date.parse(t ?? '')).filter(Number.isFinite);
  const from = times(ended.map((t) => t.startedAt));
  const to = times(ended.map((t) => t.finishedAt));
  return from.length > 0 && to.length > 0 ? [Math.min(...from), Math.max(...to)] : [0, 0];
}

const allRunning = (status: PodStatus | undefined): boolean => {
  const containers = status?.containerStatuses ?? [];
  return containers.length > 0 && containers.every((c) => c.state?.running?.startedAt !== undefined);
};

const stateless = ['secret', 'configMap', 'downwardAPI', 'emptyDir', 'projected', 'image', 'ephemeral', 'gitRepo'];

/** Whether it mounts anything that was there before it: upstream promises no time for those. */
function isStateful(pod: Pod): boolean {
  return (pod.spec.volumes ?? []).some((volume) => !stateless.some((source) => source in volume));
}
