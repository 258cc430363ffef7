import type { ConfigMap, Container, Pod, Secret } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { containersOf } from '../api/pod.ts';
import { AgentError } from '../lib/errors.ts';
import { type ObjectRef, type ObjectSource, refKey } from '../volumes/object-source.ts';

/** By name, in the pod's namespace. What is not in here does not exist. */
export interface EnvObjectValues {
  readonly configMaps: ReadonlyMap<string, ConfigMap>;
  readonly secrets: ReadonlyMap<string, Secret>;
}

export const noEnvObjects: EnvObjectValues = { configMaps: new Map(), secrets: new Map() };

/** Milliseconds that one question may take; the container is tried again later. */
const defaultReadTimeoutMs = 10_000;

/** The ConfigMaps and Secrets that a container's variables come from, each once. */
export function envReferences(container: Container, namespace: string): readonly ObjectRef[] {
  const refs = new Map<string, ObjectRef>();
  const add = (kind: ObjectRef['kind'], name: string | undefined) => {
    if (name === undefined) return;
    const ref = { kind, namespace, name };
    refs.set(refKey(ref), ref);
  };
  for (const { configMapRef, secretRef } of container.envFrom ?? []) {
    add('ConfigMap', configMapRef?.name);
    add('Secret', secretRef?.name);
  }
  for (const { valueFrom } of container.env ?? []) {
    add('ConfigMap', valueFrom?.configMapKeyRef?.name);
    add('Secret', valueFrom?.secretKeyRef?.name);
  }
  return [...refs.values()];
}

/**
 * What containers' variables are made from, kept current from the first container that needs any until `release`. A
 * container whose variables could not be made waits here: a change of any object that it refers to wakes its pod.
 */
export class EnvObjects {
  readonly #objects: ObjectSource;
  readonly #wake: (uid: PodUid) => void;
  readonly #readTimeoutMs: number;
  readonly #held = new Set<PodUid>();
  /** By pod and container, the objects one of which has to change. */
  readonly #waiting = new Map<PodUid, Map<string, ReadonlySet<string>>>();
  /** Only there while somebody waits. */
  #changes: Disposable | undefined;

  constructor(options: {
    readonly objects: ObjectSource;
    readonly wake: (uid: PodUid) => void;
    readonly readTimeoutMs?: number;
  }) {
    this.#objects = options.objects;
    this.#wake = options.wake;
    this.#readTimeoutMs = options.readTimeoutMs ?? defaultReadTimeoutMs;
  }

  /**
   * Reads what the container refers to and gives it to `make`. Where that throws, or an object cannot be read, the
   * error is passed on and the container waits.
   */
  async use<T>(
    { uid, pod, container }: { readonly uid: PodUid; readonly pod: Pod; readonly container: Container },
    make: (values: EnvObjectValues) => T,
    signal: AbortSignal,
  ): Promise<T> {
    const { namespace = 'default' } = pod.metadata;
    const refs = envReferences(container, namespace);
    if (refs.length === 0) return make(noEnvObjects);
    this.#hold(uid, pod, namespace);
    // Before the objects are read: what changes from now on must not be missed.
    this.#wait(uid, container.name, new Set(refs.map(refKey)));
    const made = make(await this.#read(refs, signal));
    this.#waitNoMore(uid, container.name);
    return made;
  }

  /** The pod starts nothing more. */
  release(uid: PodUid): void {
    this.#waiting.delete(uid);
    this.#listen();
    if (this.#held.delete(uid)) this.#objects.release(owner(uid));
  }

  #hold(uid: PodUid, pod: Pod, namespace: string): void {
    this.#held.add(uid);
    this.#objects.acquire(
      owner(uid),
      containersOf(pod).flatMap(({ container }) => envReferences(container, namespace)),
    );
  }

  async #read(refs: readonly ObjectRef[], signal: AbortSignal): Promise<EnvObjectValues> {
    const configMaps = new Map<string, ConfigMap>();
    const secrets = new Map<string, Secret>();
    await Promise.all(
      refs.map(async (ref) => {
        if (ref.kind === 'ConfigMap') keep(configMaps, ref.name, await this.#get('ConfigMap', ref, signal));
        else if (ref.kind === 'Secret') keep(secrets, ref.name, await this.#get('Secret', ref, signal));
      }),
    );
    return { configMaps, secrets };
  }

  async #get<K extends 'ConfigMap' | 'Secret'>(kind: K, ref: ObjectRef, signal: AbortSignal) {
    const patience = AbortSignal.timeout(this.#readTimeoutMs);
    try {
      return await this.#objects.get(kind, ref, AbortSignal.any([signal, patience]));
    } catch (cause) {
      if (signal.aborted || !patience.aborted) throw cause;
      const what = `failed to sync ${kind.toLowerCase()} cache`;
      throw new AgentError('NotRead', `${what}: timed out waiting for the condition`, { retryable: true });
    }
  }

  #wait(uid: PodUid, container: string, refs: ReadonlySet<string>): void {
    const containers = this.#waiting.get(uid) ?? new Map<string, ReadonlySet<string>>();
    this.#waiting.set(uid, containers.set(container, refs));
    this.#listen();
  }

  #waitNoMore(uid: PodUid, container: string): void {
    const containers = this.#waiting.get(uid);
    containers?.delete(container);
    if (containers?.size === 0) this.#waiting.delete(uid);
    this.#listen();
  }

  #listen(): void {
    if (this.#waiting.size > 0) this.#changes ??= this.#objects.onChange((ref) => this.#changed(refKey(ref)));
    else {
      this.#changes?.[Symbol.dispose]();
      this.#changes = undefined;
    }
  }

  #changed(key: string): void {
    for (const [uid, containers] of this.#waiting) {
      if ([...containers.values()].some((refs) => refs.has(key))) this.#wake(uid);
    }
  }
}

/** Volumes hold objects under the pod's UID itself. */
const owner = (uid: PodUid): string => `${uid}/env`;

function keep<T>(map: Map<string, T>, name: string, value: T | undefined): void {
  if (value !== undefined) map.set(name, value);
}
