import type { PodUid } from '../api/ids.ts';
import { eventReason } from '../api/reasons.ts';
import { adviceOf, errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

export interface HousekeepingOptions {
  /** Whether every source has reported and the runtime has been listed: before, everything looks unwanted. */
  readonly ready: () => boolean;
  /** Pods that somebody here still answers for: desired, or with a worker. */
  readonly isKnown: (uid: PodUid) => boolean;
  /** Keeps workers from taking up the pod meanwhile; does nothing when one has. */
  readonly withoutWorker: (uid: PodUid, work: () => Promise<void>) => Promise<void>;
  readonly podsOnDisk: () => Promise<readonly PodUid[]>;
  readonly podsWithCgroup: () => Promise<Iterable<PodUid>>;
  readonly tearDownVolumes: (uid: PodUid, signal: AbortSignal) => Promise<void>;
  readonly removePodDir: (uid: PodUid) => Promise<void>;
  readonly removeCgroup: (uid: PodUid, signal: AbortSignal) => Promise<void>;
  /** Tells the operator, on the node: the pod has no object any more that an event could be about. */
  readonly tell: (type: 'Normal' | 'Warning', reason: string, message: string) => void;
  readonly log: Log;
}

/**
 * Removes what a pod left on the host when its worker could not, because keelson was killed in between:
 * folders and cgroups of pods that no source, no worker and no container knows. What the runtime still
 * knows is not touched here; its pods have workers. Resolves with whether nothing is left to be done: what is
 * still in use stays as it is, and is worth another look soon.
 */
export async function housekeepOnce(o: HousekeepingOptions, signal: AbortSignal): Promise<boolean> {
  if (!o.ready()) return false;
  let isClean = true;
  const [onDisk, withCgroup] = await Promise.all([o.podsOnDisk(), o.podsWithCgroup()]);
  for (const uid of new Set([...withCgroup, ...onDisk])) {
    if (o.isKnown(uid)) continue;
    try {
      await o.withoutWorker(uid, async () => {
        await o.removeCgroup(uid, signal);
        await o.tearDownVolumes(uid, signal);
        await o.removePodDir(uid);
        o.log.info({ podUid: uid }, 'removed what an orphaned pod left behind');
        o.tell('Normal', eventReason.orphanedPodRemoved, `Removed what pod ${uid} left behind on this node`);
      });
    } catch (error) {
      if (isAbort(error)) throw error;
      isClean = false;
      o.log.warn({ podUid: uid, ...errorFields(error) }, 'cannot remove what an orphaned pod left behind');
      const message = `Cannot remove what pod ${uid} left behind on this node: ${adviceOf(error)}`;
      o.tell('Warning', eventReason.orphanedPodNotRemoved, message);
    }
  }
  return isClean;
}
