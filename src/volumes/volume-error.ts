import type { PodUid } from '../api/ids.ts';
import { eventReason } from '../api/reasons.ts';
import { AgentError, errnoOf, messageOf } from '../lib/errors.ts';

/** One volume that could not be set up; `message` is upstream's sentence, fit for an event. */
export interface VolumeFailure {
  readonly volume: string;
  /** Of the event: FailedMount, or FailedMapVolume for a device. */
  readonly reason: string;
  readonly message: string;
  readonly hint?: string;
}

/** Volumes of a pod that could not be set up. `failures` has one entry, and so one event, for each of them. */
export class VolumeError extends AgentError {
  readonly reason = eventReason.failedMount;
  readonly failures: readonly VolumeFailure[];

  constructor(failures: readonly VolumeFailure[]) {
    const hint = failures.find((failure) => failure.hint !== undefined)?.hint;
    super('FailedMount', failures.map((failure) => failure.message).join('; '), {
      retryable: true,
      ...(hint === undefined ? {} : { hint }),
    });
    this.failures = failures;
  }

  get volumes(): readonly string[] {
    return this.failures.map((failure) => failure.volume);
  }
}

/** What went wrong in another step than the set-up itself: the whole sentence, as upstream words it. Its code is the event's reason. */
export class VolumeStepError extends AgentError {
  /** `step` is upstream's, 'MountVolume.MountDevice failed'; `name` the persistent volume's. */
  static of(step: string, name: string, cause: unknown): VolumeStepError {
    const reason = step.startsWith('MapVolume') ? eventReason.failedMapVolume : eventReason.failedMount;
    return VolumeStepError.#saying(reason, `${step} for volume ${JSON.stringify(name)} : ${messageOf(cause)}`, cause);
  }

  /** The volume was not got to, because what it stands for is not known or not to be had. */
  static unprocessed(volume: string, cause: unknown): VolumeStepError {
    const lists = `unmounted volumes=[${volume}], unattached volumes=[], failed to process volumes=[${volume}]`;
    const message = `Unable to attach or mount volumes: ${lists}: ${messageOf(cause)}`;
    return VolumeStepError.#saying(eventReason.failedMount, message, cause);
  }

  static #saying(reason: string, message: string, cause: unknown): VolumeStepError {
    const hint = cause instanceof AgentError ? cause.hint : undefined;
    return new VolumeStepError(reason, message, { retryable: true, ...(hint === undefined ? {} : { hint }) });
  }
}

/** The failure of one volume, in upstream's form: `MountVolume.SetUp failed for volume "x" : …`. */
export function volumeFailure(volume: string, cause: unknown): VolumeFailure {
  const hint = cause instanceof AgentError && cause.hint !== undefined ? { hint: cause.hint } : {};
  if (cause instanceof VolumeStepError) return { volume, reason: cause.code, message: cause.message, ...hint };
  const message = `MountVolume.SetUp failed for volume ${JSON.stringify(volume)} : ${messageOf(cause)}`;
  return { volume, reason: eventReason.failedMount, message, ...hint };
}

/** Names the path in an error of the file system, and says what to do where the operator can do something. */
export function fileError(path: string, cause: unknown): AgentError {
  if (cause instanceof AgentError) return cause;
  const options = { cause, retryable: true };
  switch (errnoOf(cause)) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new AgentError('DiskFull', `cannot write ${path}: no space left on its file system`, {
        retryable: true,
        hint: `free space or inodes there: df -h ${path}; df -i ${path}`,
      });
    case 'EROFS':
      return new AgentError('ReadOnlyFileSystem', `cannot write ${path}: its file system is read-only`, {
        retryable: true,
        hint: `see dmesg for errors of the disk, then: mount -o remount,rw the file system of ${path}`,
      });
    default:
      return new AgentError('VolumeIo', `cannot set up ${path}`, options);
  }
}

/** Why a pod's folder cannot be named after this UID; it becomes a path component. */
export function assertSafeUid(uid: PodUid): void {
  if (/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(uid) && !uid.includes('..')) return;
  throw new AgentError('BadPodUid', `pod UID ${JSON.stringify(uid)} cannot name a folder`, {
    hint: 'use letters, digits and dashes in metadata.uid, or leave it out',
  });
}
