import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Node, ObjectReference, Pod } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { eventReason } from '../api/reasons.ts';
import type { Exec } from '../host/exec.ts';
import type { Mounts } from '../host/mounts.ts';
import type { RemoteFiles } from '../host/remote-files.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { boundVolume, computePersistentVolume, type LocalVolume } from './compute-persistent-volume.ts';
import type { ClaimVolume, VolumeRoots } from './compute-volumes.ts';
import { ensureHostPath } from './host-path.ts';
import { mountLocal, mountNfs, openLocalDevice } from './local-volume.ts';
import type { MountableVolume } from './mountable-volume.ts';
import type { ObjectRef, ObjectSource } from './object-source.ts';
import { ownVolume } from './own-volume.ts';
import { ownershipProgress } from './ownership-progress.ts';
import { VolumeStepError } from './volume-error.ts';

/** Runs what it is given one after another. */
export type OneAtATime = <T>(run: () => Promise<T>) => Promise<T>;

export interface ClaimHost {
  readonly api?: KubeApi | undefined;
  readonly objects: ObjectSource;
  readonly mounts: Mounts;
  readonly files: RemoteFiles;
  readonly exec: Exec;
  readonly clock: Clock;
  readonly events?: EventSink;
  readonly node?: () => Node | undefined;
  readonly roots: () => VolumeRoots;
  readonly globalDir: string;
  readonly oneDevice: OneAtATime;
  /** A claim has told the name of its volume, which is to be kept current from now on. */
  readonly found: (pod: Pod) => void;
}

/** The claims of one pod: finds out what they are bound to, and brings that to the pod's folder. */
export class ClaimSetup {
  readonly #uid: PodUid;
  readonly #o: ClaimHost;
  /** Persistent volumes by the name that the pod has for them. */
  readonly #bound = new Map<string, string>();

  constructor(uid: PodUid, options: ClaimHost) {
    this.#uid = uid;
    this.#o = options;
  }

  get isUsed(): boolean {
    return this.#bound.size > 0;
  }

  /** The persistent volumes that are waited for: those of claims that are not done. */
  volumes(done: ReadonlyMap<string, unknown>): ObjectRef[] {
    const open = [...this.#bound].filter(([name]) => !done.has(name));
    return open.map(([, name]) => ({ kind: 'PersistentVolume', namespace: '', name }));
  }

  /** Throws a VolumeStepError with upstream's sentence; what it waits for is followed, a change worth another try. */
  async setUp(pod: Pod, wanted: ClaimVolume, signal: AbortSignal): Promise<MountableVolume> {
    const { api, objects, mounts, node, roots, globalDir } = this.#o;
    if (!api) {
      const error = new AgentError('NoApiServer', 'there is no API server to tell what the claim is bound to', {
        hint: 'use hostPath in pods of a node by itself, or join a cluster',
      });
      throw VolumeStepError.unprocessed(wanted.name, error);
    }
    const { namespace = 'default' } = pod.metadata;
    const tell = (what: string, name: string) => (error: unknown) => {
      signal.throwIfAborted();
      const why = new Error(`failed to fetch ${what} from API server`, { cause: error });
      const at = `error processing PVC ${namespace}/${wanted.claimName}`;
      throw VolumeStepError.unprocessed(name, new Error(at, { cause: why }));
    };
    const claimRef = { namespace, name: wanted.claimName };
    const claim = await objects.get('PersistentVolumeClaim', claimRef, signal).catch(tell('PVC', wanted.name));
    const own = (await mounts.list()).filter(({ target }) => target.includes(`/${this.#uid}/volumes/`));
    const name = boundVolume(pod, wanted, claim, (volume) => own.some(({ target }) => basename(target) === volume));
    if (!claim) throw new AgentError('NoClaim', 'a bound claim is there');
    if (this.#bound.get(wanted.name) !== name) {
      this.#bound.set(wanted.name, name);
      this.#o.found(pod);
    }
    const volume = await objects
      .get('PersistentVolume', { namespace: '', name }, signal)
      .catch(tell(`PV ${name}`, wanted.name));
    const source = computePersistentVolume({
      pod,
      uid: this.#uid,
      wanted,
      claim,
      volume,
      node: node?.(),
      roots: roots(),
      globalDir,
    });
    return this.#bring(pod, source, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      throw error instanceof VolumeStepError ? error : VolumeStepError.of('MountVolume.SetUp failed', name, error);
    });
  }

  async #bring(
    pod: Pod,
    source: ReturnType<typeof computePersistentVolume>,
    signal: AbortSignal,
  ): Promise<MountableVolume> {
    const { mounts, files, oneDevice } = this.#o;
    const { readOnly } = source;
    switch (source.kind) {
      case 'hostPath':
        await files.use(source.path, signal, (s) => ensureHostPath(source.path, source.type, s));
        return { hostPath: source.path, readOnly };
      case 'nfs':
        await mountNfs(source, mounts, signal);
        return { hostPath: source.path, readOnly };
      case 'local': {
        if (source.isDevice) return { hostPath: '', readOnly, device: await openLocalDevice(source) };
        await this.#tellOfSharing(pod, source, signal);
        const isNew = await oneDevice(() => mountLocal(source, this.#o, signal));
        if (!readOnly) await this.#own(pod, source.path, isNew, signal);
        return { hostPath: source.path, readOnly };
      }
      default:
        return source satisfies never;
    }
  }

  async #own(pod: Pod, path: string, isNew: boolean, signal: AbortSignal): Promise<void> {
    const { fsGroup: gid, fsGroupChangePolicy } = pod.spec.securityContext ?? {};
    if (gid === undefined) return;
    // One that is mounted already has been seen to, unless that was broken off.
    const onRootMismatch = fsGroupChangePolicy === 'OnRootMismatch' || !isNew;
    const volume = `${this.#uid}/volumes/${basename(dirname(path))}/${basename(path)}`;
    using progress = ownershipProgress(volume, this.#o.clock, (message) =>
      this.#event(pod, eventReason.volumePermissionChangeInProgress, message),
    );
    await ownVolume(path, { gid, onRootMismatch }, progress.count, signal);
  }

  /** Pods that share a volume but not the group take its files from each other. */
  async #tellOfSharing(pod: Pod, { name, source }: LocalVolume, signal: AbortSignal): Promise<void> {
    const gid = pod.spec.securityContext?.fsGroup;
    if (gid === undefined) return;
    const suffix = join('/volumes/kubernetes.io~local-volume', name);
    const isOthers = (target: string) => target.endsWith(suffix) && !target.endsWith(`/${this.#uid}${suffix}`);
    if (!(await this.#o.mounts.list()).some(({ target }) => isOthers(target))) return;
    const has = await this.#o.files.use(source, signal, () => stat(source)).catch(() => undefined);
    if (!has || has.gid === gid) return;
    const what = `The requested fsGroup is ${gid}, but the volume ${name} has GID ${has.gid}.`;
    this.#event(pod, eventReason.alreadyMountedVolume, `${what} The volume may not be shareable.`);
  }

  #event(pod: Pod, reason: string, message: string): void {
    const { name, namespace = 'default', uid } = pod.metadata;
    const about: ObjectReference = { apiVersion: 'v1', kind: 'Pod', name, namespace, ...(uid ? { uid } : {}) };
    this.#o.events?.event(about, 'Warning', reason, message);
  }
}
