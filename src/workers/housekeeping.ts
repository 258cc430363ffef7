import type { PodUid } from '../api/ids.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

export interface HousekeepingOptions {
  /** Whether every source has reported and the runtime has been listed: before, everything looks unwanted. */
  readonly ready: () => boolean;
  /** Pods that somebody here still answers for: desired, or with a worker. */
  readonly isKnown: (uid: PodUid) => boolean;
  readonly podsOnDisk: () => Promise<readonly PodUid[]>;
  readonly podsWithCgroup: () => Promise<Iterable<PodUid>>;
  readonly tearDownVolumes: (uid: PodUid, signal: AbortSignal) => Promise<void>;
  readonly removePodDir: (uid: PodUid) => Promise<void>;
  readonly removeCgroup: (uid: PodUid, signal: AbortSignal) => Promise<void>;
  readonly log: Log;
}

/**
 * Removes what a pod left on the host when its worker could not, because keelson was killed in between:
 * folders and cgroups of pods that no source, no worker and no container knows. What the runtime still
 * knows is not touched here; its pods have workers.
 */
export async function housekeepOnce(o: HousekeepingOptions, signal: AbortSignal): Promise<void> {
  if (!o.ready()) return;
  const [onDisk, withCgroup] = await Promise.all([o.podsOnDisk(), o.podsWithCgroup()]);
  for (const uid of new Set([...withCgroup, ...onDisk])) {
    if (o.isKnown(uid)) continue;
    try {
      await o.removeCgroup(uid, signal);
      await o.tearDownVolumes(uid, signal);
      await o.removePodDir(uid);
      o.log.info({ podUid: uid }, 'removed what an orphaned pod left behind');
    } catch (error) {
      if (isAbort(error)) throw error;
      o.log.warn({ podUid: uid, ...errorFields(error) }, 'cannot remove what an orphaned pod left behind');
    }
  }
}
