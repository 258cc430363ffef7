import { mkdir, readdir, realpath } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Node, Pod, ResourceList } from '../api/core-v1.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { quantityValue } from '../api/quantity.ts';
import type { Exec } from '../host/exec.ts';
import { removeTree } from '../host/files.ts';
import { mountsUnder } from '../host/mount-table.ts';
import type { Mounts } from '../host/mounts.ts';
import { RemoteFiles } from '../host/remote-files.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errnoOf, errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { ClaimSetup } from './claim-setup.ts';
import {
  computeVolumes,
  mountedPlugins,
  type PayloadVolume,
  referencedObjects,
  type VolumeRoots,
  type WantedVolume,
} from './compute-volumes.ts';
import { ensureHostPath } from './host-path.ts';
import { globalMounts, mountNfs, releaseDevices } from './local-volume.ts';
import { removeMountPoints } from './mount-points.ts';
import type { MountableVolume } from './mountable-volume.ts';
import { openNodeMemory } from './node-memory.ts';
import { type ObjectRef, type ObjectSource, refKey } from './object-source.ts';
import { PayloadSetup } from './payload-setup.ts';
import { prepareEmptyDir } from './prepare-volume.ts';
import { bindSubPath } from './sub-path.ts';
import { TokenManager } from './token-manager.ts';
import { Turns } from './turns.ts';
import { assertSafeUid, fileError, VolumeError, type VolumeFailure, volumeFailure } from './volume-error.ts';
import { pluginOf, type VolumeMetrics } from './volume-metrics.ts';

const retryMs = 30_000;

/** A `volumeMounts[].subPath`, expanded. */
export interface SubPathRequest {
  readonly uid: PodUid;
  readonly volume: string;
  /** Where `setUp` said that the volume is. */
  readonly volumePath: string;
  readonly container: string;
  /** Of the mount among the container's `volumeMounts`. */
  readonly index: number;
  readonly subPath: string;
}

export interface VolumeManagerOptions {
  readonly rootDir: string;
  /** Issues tokens; undefined on a node without an API server. */
  readonly api?: KubeApi | undefined;
  readonly objects: ObjectSource;
  readonly mounts: Mounts;
  /** Shared with whoever else looks at volumes; one of its own by default. */
  readonly files?: RemoteFiles;
  readonly exec: Exec;
  readonly clock: Clock;
  readonly log: Log;
  readonly events?: EventSink;
  /** This node, for volumes that are not everywhere. */
  readonly node?: () => Node | undefined;
  /** Something that a pod's failed set-up waited for has turned up: its worker should try again. */
  readonly wake?: (uid: PodUid) => void;
  /** What the node has for pods; stands in for limits that containers do not have. */
  readonly allocatable?: () => ResourceList;
  /** Size of the tmpfs for secrets and tokens; default a tenth of the memory. */
  readonly memoryBytes?: number;
  readonly random?: () => number;
  readonly metrics?: VolumeMetrics;
}

interface PodVolumes {
  readonly uid: PodUid;
  readonly stop: AbortController;
  pod: Pod | undefined;
  wanted: readonly WantedVolume[];
  refs: ReadonlySet<string>;
  /** Volumes that need nothing more once they are there. */
  readonly done: Map<string, MountableVolume>;
  readonly claims: ClaimSetup;
  readonly payloads: PayloadSetup;
  /** Undefined until a set-up has succeeded as a whole. */
  result: ReadonlyMap<string, MountableVolume> | undefined;
  /** Something may differ from what is on disk. */
  dirty: boolean;
  refreshQueued: boolean;
}

/**
 * The volumes of the pods on this node: sets them up before containers start, keeps their content current while they
 * run, takes them down afterwards. Owns `<root>/pods/<uid>/volumes` and the node's tmpfs.
 *
 * Whatever is done for one pod is done in turn. A pod at rest costs a map entry: changes of objects come as events,
 * tokens share one timer. A volume that was set up once stays usable when its content can no longer be renewed (the
 * ConfigMap is gone, the API server is away): that is logged, not an error.
 *
 * Owns `<root>/pods/<uid>/volume-subpaths` too: parts of volumes, for one container each.
 */
export class VolumeManager {
  readonly #o: VolumeManagerOptions;
  readonly #files: RemoteFiles;
  readonly #log: Log;
  readonly #tokens: TokenManager;
  readonly #pods = new Map<PodUid, PodVolumes>();
  readonly #turns = new Turns<PodUid>();
  /** A container must not wait for its part of a volume until another volume has been renewed. */
  readonly #parts = new Turns<PodUid>();
  /** Devices that pods share are mounted and unmounted one after another. */
  readonly #devices = new Turns<'device'>();
  #memory = '';
  #realPods = '';
  #realRoot = '';
  #life: AbortSignal | undefined;
  #retry: Disposable | undefined;

  constructor(options: VolumeManagerOptions) {
    this.#o = options;
    this.#files = options.files ?? new RemoteFiles(options);
    this.#log = options.log;
    this.#tokens = new TokenManager({ random: Math.random, ...options, api: options.api });
  }

  /** Mounts the node's tmpfs where it is not, and begins to follow changes until the signal is aborted. */
  async start(signal: AbortSignal): Promise<void> {
    const { rootDir, mounts, memoryBytes, objects } = this.#o;
    await makeFolder(this.#podsDir);
    this.#realPods = await realpath(this.#podsDir);
    this.#realRoot = dirname(this.#realPods);
    const size = memoryBytes === undefined ? {} : { sizeBytes: memoryBytes };
    this.#memory = await openNodeMemory(rootDir, mounts, { ...size, signal });
    const changes = objects.onChange((ref) => this.#objectChanged(ref));
    const stop = () => {
      changes[Symbol.dispose]();
      this.#retry?.[Symbol.dispose]();
    };
    signal.addEventListener('abort', stop, { once: true });
    this.#tokens.start((uid) => this.#queueRefresh(uid), signal);
    this.#life = signal;
  }

  /**
   * Sets up the pod's volumes and resolves with where they are, by name. Idempotent; costs nothing when nothing has
   * changed. Throws a VolumeError that names every volume that could not be set up; the others are.
   */
  async setUp(pod: Pod, uid: PodUid, signal: AbortSignal): Promise<ReadonlyMap<string, MountableVolume>> {
    assertSafeUid(uid);
    const known = this.#pods.get(uid);
    if (known?.result && known.pod === pod && !known.dirty) return known.result;
    return this.#turns.take(uid, () => this.#setUp(pod, uid, signal));
  }

  /**
   * Resolves with where the runtime finds the part of a volume that a container mounts by subPath; makes the folder where
   * there is nothing. Idempotent, after a restart too; goes with the pod's volumes. Nobody who writes to the volume can
   * make it lead out of there. Fails with upstream's sentence, which does not tell the pod's owner of the host's files:
   * the log does.
   */
  async subPath(request: SubPathRequest, signal: AbortSignal): Promise<string> {
    const { uid, volume, volumePath, container, index, subPath } = request;
    assertSafeUid(uid);
    const target = join(this.#realPods, uid, 'volume-subpaths', volume, container, String(index));
    try {
      const bind = (s: AbortSignal) => bindSubPath({ volumePath, subPath, target }, this.#o.mounts, s);
      await this.#parts.take(uid, () => this.#files.use(volumePath, signal, bind));
    } catch (error) {
      if (signal.aborted) throw error;
      this.#log.warn({ podUid: uid, container, volume, subPath, ...errorFields(error) }, 'subPath not prepared');
      const mount = `volumeMount ${JSON.stringify(volume)} of container ${JSON.stringify(container)}`;
      throw new AgentError('SubPath', `failed to prepare subPath for ${mount}`, { retryable: true });
    }
    return target;
  }

  /**
   * Unmounts and removes everything of the pod's volumes; a pod that has none is a success. What a hostPath names is
   * not touched. Nothing is removed through a mount that cannot be undone: fails with MountedBelow then.
   */
  async tearDown(uid: PodUid, signal: AbortSignal): Promise<void> {
    assertSafeUid(uid);
    this.#pods.get(uid)?.stop.abort();
    const takeDown = async () => {
      this.#pods.delete(uid);
      this.#o.objects.release(uid);
      this.#tokens.release(uid);
      const mounts = await this.#o.mounts.list();
      const own = [join(this.#realPods, uid), join(this.#memory, uid)].flatMap((dir) => mountsUnder(mounts, dir));
      for (const { target } of own.reverse()) await this.#o.mounts.unmount(target, signal);
      await this.#devices.take('device', () => releaseDevices(this.#globalDir, this.#realPods, this.#o.mounts, signal));
      await removeMountPoints(join(this.#podsDir, uid, 'volume-subpaths'), 3);
      for (const plugin of mountedPlugins) await removeMountPoints(join(this.#podsDir, uid, 'volumes', plugin), 1);
      await removeTree(join(this.#podsDir, uid, 'volumes'));
      await removeTree(join(this.#memory, uid));
    };
    const known = this.#pods.get(uid);
    const over = this.#turns.take(uid, () => this.#parts.take(uid, takeDown));
    // They are taken down together: each takes as long as all of them.
    const { pod, wanted = [] } = known ?? {};
    for (const { name } of wanted) void this.#timed('volume_unmount', pod, name, over).catch(() => {});
    await over;
  }

  /** Every volume of the pods that are known now. */
  *volumes(): Generator<{ readonly plugin: string; readonly isThere: boolean }> {
    for (const { pod, wanted, done, result } of this.#pods.values())
      for (const { name } of wanted)
        yield { plugin: pluginIn(pod, name), isThere: result?.has(name) === true || done.has(name) };
  }

  /** Where the pod's volumes are, by name, once all of them are set up: for those who measure them. */
  mounted(uid: PodUid): ReadonlyMap<string, MountableVolume> {
    return this.#pods.get(uid)?.result ?? new Map();
  }

  /** The pods that have anything on this node's disk or in its tmpfs. */
  async podsOnDisk(): Promise<readonly PodUid[]> {
    const found = await Promise.all([this.#podsDir, this.#memory].map(foldersIn));
    return [...new Set(found.flat())].map(podUid);
  }

  /** Removes the pod's folder with whatever is left in it, after `tearDown`. */
  async removePodDir(uid: PodUid): Promise<void> {
    assertSafeUid(uid);
    await this.#turns.take(uid, async () => {
      await removeTree(join(this.#podsDir, uid));
      await removeTree(join(this.#memory, uid));
    });
  }

  async #timed<T>(operation: string, pod: Pod | undefined, volume: string, work: Promise<T>): Promise<T> {
    const { clock, metrics } = this.#o;
    if (!metrics) return work;
    const startedAt = clock.monotonic();
    const over = (status: string) =>
      metrics.operations.observe(
        (clock.monotonic() - startedAt) / 1000,
        pluginIn(pod, volume),
        operation,
        status,
        'false',
      );
    try {
      const result = await work;
      over('success');
      metrics.total.observe((clock.monotonic() - startedAt) / 1000, pluginIn(pod, volume), operation);
      return result;
    } catch (error) {
      over('fail-unknown');
      throw error;
    }
  }

  get #globalDir(): string {
    return globalMounts(this.#realRoot);
  }

  get #podsDir(): string {
    return join(this.#o.rootDir, 'pods');
  }

  async #setUp(pod: Pod, uid: PodUid, signal: AbortSignal): Promise<ReadonlyMap<string, MountableVolume>> {
    signal.throwIfAborted();
    if (!this.#life) throw new AgentError('NotStarted', 'the volume manager has not been started');
    const state = this.#stateOf(uid);
    this.#take(state, pod);
    // Before anything is read: a change that comes while we work must count.
    state.dirty = false;
    const result = new Map<string, MountableVolume>();
    const failures: VolumeFailure[] = [];
    const outcomes = await Promise.allSettled(
      state.wanted.map((volume) =>
        this.#timed('volume_mount', pod, volume.name, this.#setUpOne(state, volume, signal)),
      ),
    );
    if (signal.aborted) state.dirty = true;
    signal.throwIfAborted();
    for (const [index, volume] of state.wanted.entries()) {
      const outcome = outcomes[index];
      if (outcome?.status === 'fulfilled') result.set(volume.name, outcome.value);
      else failures.push(volumeFailure(volume.name, outcome?.reason));
    }
    if (failures.length > 0) {
      state.dirty = true;
      throw new VolumeError(failures);
    }
    state.result = result;
    if (state.claims.isUsed) this.#follow(state, pod);
    return result;
  }

  #stateOf(uid: PodUid): PodVolumes {
    const known = this.#pods.get(uid);
    if (known) return known;
    const { objects, mounts, clock } = this.#o;
    const state: PodVolumes = {
      uid,
      stop: new AbortController(),
      pod: undefined,
      wanted: [],
      refs: new Set(),
      done: new Map(),
      claims: new ClaimSetup(uid, {
        ...this.#o,
        files: this.#files,
        roots: () => this.#roots(),
        globalDir: this.#globalDir,
        oneDevice: (run) => this.#devices.take('device', run),
        found: (pod) => this.#follow(state, pod),
      }),
      payloads: new PayloadSetup({ uid, objects, tokens: this.#tokens, mounts, clock, memory: this.#memory }),
      result: undefined,
      dirty: true,
      refreshQueued: false,
    };
    this.#pods.set(uid, state);
    return state;
  }

  /** Takes over a new version of the pod. */
  #take(state: PodVolumes, pod: Pod): void {
    if (state.pod === pod) return;
    state.pod = pod;
    state.wanted = computeVolumes(pod, state.uid, this.#roots());
    this.#follow(state, pod);
  }

  /** Keeps the objects current that the pod's volumes are made from. A claim that is served has no more to say. */
  #follow(state: PodVolumes, pod: Pod): void {
    const open = state.wanted.filter((volume) => !state.done.has(volume.name));
    const refs = [...referencedObjects(open, pod.metadata.namespace ?? 'default'), ...state.claims.volumes(state.done)];
    state.refs = new Set(refs.map(refKey));
    this.#o.objects.acquire(state.uid, refs);
  }

  #roots(): VolumeRoots {
    const memory = this.#o.allocatable?.()['memory'];
    return {
      pods: this.#podsDir,
      memory: this.#memory,
      allocatableMemory: memory === undefined ? undefined : quantityValue(memory),
    };
  }

  async #setUpOne(state: PodVolumes, volume: WantedVolume, signal: AbortSignal): Promise<MountableVolume> {
    switch (volume.kind) {
      case 'refused':
        throw new AgentError('VolumeRefused', volume.message);
      case 'payload':
        await this.#fill(state, volume, true, signal);
        return { hostPath: volume.path, readOnly: true };
      case 'image': {
        const { reference, pullPolicy } = volume;
        return { hostPath: '', readOnly: true, image: { image: reference }, ...(pullPolicy ? { pullPolicy } : {}) };
      }
      case 'emptyDir':
      case 'hostPath':
      case 'nfs':
      case 'claim': {
        const made = state.done.get(volume.name) ?? (await this.#make(state, volume, signal));
        state.done.set(volume.name, made);
        return made;
      }
      default:
        return volume satisfies never;
    }
  }

  /** Sets up what needs to be set up once. */
  async #make(
    { claims, pod }: PodVolumes,
    volume: Extract<WantedVolume, { kind: 'emptyDir' | 'hostPath' | 'nfs' | 'claim' }>,
    signal: AbortSignal,
  ): Promise<MountableVolume> {
    const { mounts } = this.#o;
    switch (volume.kind) {
      case 'emptyDir':
        await prepareEmptyDir(volume, mounts, signal);
        return { hostPath: volume.path, readOnly: false };
      case 'hostPath':
        await this.#files.use(volume.path, signal, (s) => ensureHostPath(volume.path, volume.type, s));
        return { hostPath: volume.path, readOnly: false };
      case 'nfs':
        await mountNfs(volume, mounts, signal);
        return { hostPath: volume.path, readOnly: volume.readOnly };
      case 'claim':
        if (!pod) throw new AgentError('NoPod', 'the pod is not known');
        return claims.setUp(pod, volume, signal);
      default:
        return volume satisfies never;
    }
  }

  /** Writes what the volume should hold; when it holds something already, failing to renew that is no error. */
  async #fill(state: PodVolumes, volume: PayloadVolume, isAwaited: boolean, signal: AbortSignal): Promise<void> {
    const { pod, uid } = state;
    if (!pod) return;
    const allocatable = this.#o.allocatable?.() ?? {};
    const outcome = await state.payloads.fill(pod, volume, { allocatable, isAwaited }, signal);
    if (outcome.error === undefined) return;
    if (signal.aborted || !outcome.usable) throw outcome.error;
    state.dirty = true;
    this.#retryLater();
    if (!outcome.isNews) return;
    const { namespace, name } = pod.metadata;
    const fields = { pod: `${namespace}/${name}`, podUid: uid, volume: volume.name, ...errorFields(outcome.error) };
    this.#log.warn(fields, 'volume not renewed, its content stays as it is');
  }

  #objectChanged(ref: ObjectRef): void {
    const key = refKey(ref);
    for (const state of this.#pods.values()) if (state.refs.has(key)) this.#queueRefresh(state.uid);
  }

  #queueRefresh(uid: PodUid): void {
    const state = this.#pods.get(uid);
    if (!state || !this.#life || this.#life.aborted) return;
    state.dirty = true;
    if (state.refreshQueued) return;
    state.refreshQueued = true;
    const signal = AbortSignal.any([state.stop.signal, this.#life]);
    void this.#turns
      .take(uid, () => this.#refresh(state, signal))
      .catch((error) => {
        if (!isAbort(error)) this.#log.warn({ podUid: uid, ...errorFields(error) }, 'volumes not renewed');
      });
  }

  /** Tries again, in a while, what could not be renewed: one timer for all, none when all is well. */
  #retryLater(): void {
    if (this.#retry || !this.#life || this.#life.aborted) return;
    this.#retry = this.#o.clock.after(retryMs, () => {
      this.#retry = undefined;
      for (const state of this.#pods.values()) if (state.dirty && state.result) this.#queueRefresh(state.uid);
    });
  }

  async #refresh(state: PodVolumes, signal: AbortSignal): Promise<void> {
    state.refreshQueued = false;
    if (signal.aborted || this.#pods.get(state.uid) !== state || !state.dirty) return;
    if (!state.result) {
      this.#o.wake?.(state.uid);
      return;
    }
    state.dirty = false;
    const payloads = state.wanted.filter((volume) => volume.kind === 'payload');
    await Promise.all(payloads.map((volume) => this.#fill(state, volume, false, signal)));
  }
}

const pluginIn = (pod: Pod | undefined, volume: string): string =>
  pluginOf(pod?.spec.volumes?.find(({ name }) => name === volume));

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o750 });
  } catch (error) {
    throw fileError(path, error);
  }
}

async function foldersIn(path: string): Promise<readonly string[]> {
  try {
    const entries = await readdir(path, { withFileTypes: true });
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw fileError(path, error);
  }
}
