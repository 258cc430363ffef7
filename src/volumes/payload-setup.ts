import { createHash } from 'node:crypto';
import type { ClusterTrustBundle, ConfigMap, Pod, ResourceList, Secret } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import type { Mounts } from '../host/mounts.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, isAbort, messageOf } from '../lib/errors.ts';
import { hasPayload, readPayloadFile, writePayload } from './atomic-writer.ts';
import type { PayloadSource, PayloadVolume, TrustSource } from './compute-volumes.ts';
import { type ObjectKind, type ObjectOf, type ObjectSource, refKey } from './object-source.ts';
import { preparePayloadFolder } from './prepare-volume.ts';
import { type Payload, renderPayload } from './render-payload.ts';
import type { TokenManager } from './token-manager.ts';

/** How long to wait for what a volume refers to, milliseconds; less where a container could start with what is there. */
const deadlineMs = 10_000;
const shortDeadlineMs = 1_000;

export interface FillOutcome {
  readonly error?: unknown;
  /** The volume has content, this or an older one. */
  readonly usable: boolean;
  /** The error is not the one of the last time. */
  readonly isNews: boolean;
}

export interface FillOptions {
  readonly allocatable: ResourceList;
  /** A pod's start or restart waits for it, as opposed to a renewal in the background. */
  readonly isAwaited: boolean;
}

interface Folder {
  /** Where the files really are. */
  readonly path: string;
  /** There is a complete set of files. */
  usable: boolean;
  /** Of what was written last by this process; undefined before. Content itself is not kept. */
  digest: string | undefined;
  complaint: string | undefined;
}

/** Fills the configMap, secret, downwardAPI and projected volumes of one pod. Not for concurrent use on one volume. */
export class PayloadSetup {
  readonly #o: {
    readonly uid: PodUid;
    readonly objects: ObjectSource;
    readonly tokens: TokenManager;
    readonly mounts: Mounts;
    readonly clock: Clock;
    readonly memory: string;
  };
  readonly #folders = new Map<string, Folder>();

  constructor(options: {
    readonly uid: PodUid;
    readonly objects: ObjectSource;
    readonly tokens: TokenManager;
    readonly mounts: Mounts;
    readonly clock: Clock;
    readonly memory: string;
  }) {
    this.#o = options;
  }

  /** Brings the volume's files up to date. Does not throw: the outcome says what is wrong, and whether the pod can live with it. */
  async fill(pod: Pod, volume: PayloadVolume, options: FillOptions, signal: AbortSignal): Promise<FillOutcome> {
    let folder: Folder | undefined;
    try {
      folder = await this.#folderOf(volume, pod);
      const payload = await this.#render(pod, volume, folder, options, signal);
      const digest = digestOf(payload, volume.gid);
      if (digest !== folder.digest) {
        await writePayload(folder.path, payload, { gid: volume.gid, now: this.#o.clock.now(), signal });
        folder.digest = digest;
        folder.usable = true;
      }
      folder.complaint = undefined;
      return { usable: true, isNews: false };
    } catch (cause) {
      const error = this.#explain(cause, folder);
      const complaint = messageOf(error);
      const isNews = complaint !== folder?.complaint;
      if (folder && !isAbort(error)) folder.complaint = complaint;
      return { error, usable: folder?.usable ?? false, isNews };
    }
  }

  async #folderOf(volume: PayloadVolume, pod: Pod): Promise<Folder> {
    const known = this.#folders.get(volume.name);
    if (known) return known;
    const path = await preparePayloadFolder(volume, this.#o.mounts);
    const folder: Folder = { path, usable: await hasPayload(path), digest: undefined, complaint: undefined };
    // What lies there from before a restart is good until its time is up, and need not be asked for again.
    if (folder.usable) {
      for (const source of volume.sources) {
        if (source.kind !== 'token') continue;
        const token = await readPayloadFile(path, source.projection.path);
        if (token !== undefined) this.#o.tokens.adopt(pod, this.#o.uid, source.projection, token);
      }
    }
    this.#folders.set(volume.name, folder);
    return folder;
  }

  async #render(
    pod: Pod,
    volume: PayloadVolume,
    folder: Folder,
    { allocatable, isAwaited }: FillOptions,
    signal: AbortSignal,
  ): Promise<Payload> {
    const { uid, clock } = this.#o;
    const deadline = new AbortController();
    using _ = clock.after(folder.usable && isAwaited ? shortDeadlineMs : deadlineMs, () => {
      deadline.abort(new AgentError('Timeout', 'timed out waiting for the API server', { retryable: true }));
    });
    const found = await this.#gather(pod, volume.sources, AbortSignal.any([signal, deadline.signal]));
    signal.throwIfAborted();
    const { payload, missing, hint } = renderPayload(volume, {
      pod,
      uid,
      allocatable,
      object: (kind, name) => {
        const object = found.get(objectKey(kind, pod, name));
        if (object instanceof Error) throw object;
        return object as ConfigMap | Secret | undefined;
      },
      bundles: (from) => {
        const object = found.get(refKey({ ...from, namespace: '' }));
        if (object instanceof Error) throw object;
        return bundlesIn(from, object as ObjectOf[TrustSource['from']['kind']] | undefined);
      },
      token: (projection) => found.get(JSON.stringify(projection)) as string | Error,
    });
    if (missing !== undefined) {
      throw new AgentError('VolumeContent', missing, { retryable: true, ...(hint === undefined ? {} : { hint }) });
    }
    return payload;
  }

  /** Everything that the sources refer to, at the same time; what could not be had is an Error in its place. */
  async #gather(
    pod: Pod,
    sources: readonly PayloadSource[],
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, Found | Error | undefined>> {
    const { objects, tokens, uid } = this.#o;
    const namespace = pod.metadata.namespace ?? 'default';
    const asked = sources.flatMap((source): [string, Promise<Found | undefined>][] => {
      switch (source.kind) {
        case 'ConfigMap':
        case 'Secret': {
          const { kind, name } = source;
          return [[objectKey(kind, pod, name), objects.get(kind, { namespace, name }, signal)]];
        }
        case 'token':
          return [[JSON.stringify(source.projection), tokens.get(pod, uid, source.projection, signal)]];
        case 'trust': {
          const ref = { ...source.from, namespace: '' };
          return [[refKey(ref), objects.get(ref.kind, ref, signal)]];
        }
        case 'downwardAPI':
          return [];
        default:
          return source satisfies never;
      }
    });
    const answers = await Promise.all(
      asked.map(async ([key, answer]) => {
        const value = await answer.catch((error) => (error instanceof Error ? error : new Error(String(error))));
        return [key, value] as const;
      }),
    );
    return new Map(answers);
  }

  #explain(error: unknown, folder: Folder | undefined): unknown {
    const isFull = error instanceof AgentError && error.code === 'DiskFull';
    const { memory } = this.#o;
    if (!isFull || !folder?.path.startsWith(`${memory}/`)) return error;
    return new AgentError('MemoryFull', `the node's memory for secrets and tokens, ${memory}, is full`, {
      cause: error,
      retryable: true,
      hint: `see who needs so much: du -s ${memory}/*; make it larger: mount -o remount,size=<bytes> ${memory}`,
    });
  }
}

/** What a source refers to: an object, or a token. */
type Found = ObjectOf[ObjectKind] | string;

function bundlesIn(
  { kind }: TrustSource['from'],
  object: ObjectOf[TrustSource['from']['kind']] | undefined,
): readonly ClusterTrustBundle[] {
  if (!object) return [];
  return kind === 'SignerTrustBundles'
    ? (object as ObjectOf['SignerTrustBundles']).items
    : [object as ClusterTrustBundle];
}

const objectKey = (kind: ObjectKind, pod: Pod, name: string): string =>
  refKey({ kind, namespace: pod.metadata.namespace ?? 'default', name });

function digestOf(payload: Payload, gid: number | undefined): string {
  const hash = createHash('sha256').update(`${gid ?? ''}\n`);
  for (const [path, file] of payload) {
    hash.update(`${JSON.stringify(path)} ${file.mode} ${file.uid ?? ''} ${file.data.length}\n`).update(file.data);
  }
  return hash.digest('base64');
}
