import type { Pod } from '../api/core-v1.ts';
import { type MirrorPodUid, mirrorPodUid, type PodUid, podUid } from '../api/ids.ts';
import { configSeenAnnotation, isMirrorPod, isOver, podKey } from '../api/pod.ts';

export type PodSource = 'api' | 'file';

/** Somebody other than the API server wants the pod gone: eviction, shutdown, a deadline, admission. */
export interface TerminateIntent {
  readonly reason: string;
  readonly message: string;
  /** Absent: the pod's own grace period. */
  readonly gracePeriodSeconds?: number;
}

export interface DesiredPod {
  readonly uid: PodUid;
  readonly pod: Pod;
  readonly source: PodSource;
  /** Milliseconds since the epoch at which keelson first saw it in this run. */
  readonly seenAt: number;
  readonly intent?: TerminateIntent;
}

export interface MirrorPod {
  readonly uid: MirrorPodUid;
  readonly pod: Pod;
}

/** Whether what is wanted has changed, or only what the API server says of the pod: the echo of our own reports, mostly. */
export type PodChange = 'desired' | 'status';

/** A pod of the API server that is left out, because the UID is another one's. */
export type DuplicateUid = (pod: Pod, holder: Pod) => void;

/**
 * The desired truth: every pod that should be here, by UID, whichever source it came from, with the
 * mirror pods of static pods and the terminate intents beside it. Sources write, everyone reads; a
 * change wakes the pod's UID.
 */
export class PodManager {
  readonly #pods = new Map<PodUid, DesiredPod>();
  /** Mirror pods by 'namespace/name', which they share with their static pod. */
  readonly #mirrors = new Map<string, MirrorPod>();
  readonly #intents = new Map<PodUid, TerminateIntent>();
  readonly #wake: (uid: PodUid, change: PodChange) => void;
  readonly #now: () => number;
  readonly #duplicate: DuplicateUid;

  constructor(now: () => number, wake: (uid: PodUid, change: PodChange) => void, duplicate: DuplicateUid = () => {}) {
    this.#now = now;
    this.#wake = wake;
    this.#duplicate = duplicate;
  }

  get(uid: PodUid): DesiredPod | undefined {
    return this.#pods.get(uid);
  }

  all(): Iterable<DesiredPod> {
    return this.#pods.values();
  }

  get size(): number {
    return this.#pods.size;
  }

  mirrorOf(pod: Pod): MirrorPod | undefined {
    return this.#mirrors.get(podKey(pod));
  }

  mirrors(): Iterable<MirrorPod> {
    return this.#mirrors.values();
  }

  /** What the API server's watch says of 'namespace/name': the object, or undefined when it is gone. */
  setFromApi(key: string, pod: Pod | undefined): void {
    const mirror = this.#mirrors.get(key);
    if (mirror && mirror.uid !== pod?.metadata.uid) {
      this.#mirrors.delete(key);
      this.#wakeStatic(key);
    }
    for (const known of this.#pods.values()) {
      if (known.source === 'api' && podKey(known.pod) === key && known.uid !== pod?.metadata.uid)
        this.#remove(known.uid);
    }
    if (!pod?.metadata.uid) return;
    if (isMirrorPod(pod)) {
      this.#mirrors.set(key, { uid: mirrorPodUid(pod.metadata.uid), pod });
      this.#wakeStatic(key);
      return;
    }
    const uid = podUid(pod.metadata.uid);
    const holder = this.#pods.get(uid);
    // All that is known of a pod is known by its UID: two under one would take turns in tearing each other down.
    if (holder && (holder.source !== 'api' || podKey(holder.pod) !== key)) this.#duplicate(pod, holder.pod);
    else this.#set(uid, pod, 'api');
  }

  /** All pods of the manifest directory, as of now. */
  setFromFiles(pods: readonly Pod[]): void {
    const byUid = new Map(pods.toReversed().map((pod) => [podUid(pod.metadata.uid ?? ''), pod]));
    for (const known of this.#pods.values())
      if (known.source === 'file' && !byUid.has(known.uid)) this.#remove(known.uid);
    for (const pod of pods) {
      const uid = podUid(pod.metadata.uid ?? '');
      const known = this.#pods.get(uid);
      // A static pod's UID is made from its content, unless the manifest has one of its own.
      const isNews = known ? known.source === 'file' && differsInContent(known.pod, pod) : true;
      if (byUid.get(uid) === pod && isNews) this.#set(uid, pod, 'file');
    }
  }

  /** Says that a pod has to go although its source still has it. The first reason stays; grace may only shrink. */
  terminate(uid: PodUid, intent: TerminateIntent): void {
    const known = this.#pods.get(uid);
    // It has gone meanwhile: a pod that comes back under its UID is another one.
    if (!known) return;
    const earlier = this.#intents.get(uid);
    const grace = smaller(earlier?.gracePeriodSeconds, intent.gracePeriodSeconds);
    const merged: TerminateIntent = {
      reason: earlier?.reason ?? intent.reason,
      message: earlier?.message ?? intent.message,
      ...(grace === undefined ? {} : { gracePeriodSeconds: grace }),
    };
    this.#intents.set(uid, merged);
    this.#pods.set(uid, { ...known, intent: merged });
    this.#wake(uid, 'desired');
  }

  #set(uid: PodUid, pod: Pod, source: PodSource): void {
    const intent = this.#intents.get(uid);
    const known = this.#pods.get(uid);
    const seenAt = known?.seenAt ?? this.#now();
    this.#pods.set(uid, { uid, pod, source, seenAt, ...(intent ? { intent } : {}) });
    this.#wake(uid, known && differsInStatusOnly(known.pod, pod) ? 'status' : 'desired');
  }

  #remove(uid: PodUid): void {
    this.#pods.delete(uid);
    this.#intents.delete(uid);
    this.#wake(uid, 'desired');
  }

  #wakeStatic(key: string): void {
    for (const known of this.#pods.values()) {
      if (known.source === 'file' && podKey(known.pod) === key) this.#wake(known.uid, 'status');
    }
  }
}

function smaller(a: number | undefined, b: number | undefined): number | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return Math.min(a, b);
}

/**
 * The server counts up `generation` with every change of the spec; labels and annotations reach downward API volumes.
 * A pod that somebody else declares to be over has to end.
 */
function differsInStatusOnly(before: Pod, after: Pod): boolean {
  const visible = ({ metadata: m, status }: Pod) =>
    JSON.stringify([
      ...[m.generation, m.deletionTimestamp, m.deletionGracePeriodSeconds, m.labels, m.annotations],
      isOver(status),
    ]);
  return before.metadata.generation !== undefined && visible(before) === visible(after);
}

/** When a manifest was first seen is no part of what it says. */
function differsInContent(before: Pod, after: Pod): boolean {
  const content = ({ metadata: { labels, annotations = {} }, spec }: Pod) =>
    JSON.stringify([labels, { ...annotations, [configSeenAnnotation]: '' }, spec]);
  return content(before) !== content(after);
}
