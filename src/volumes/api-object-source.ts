import type { ClusterTrustBundle } from '../api/core-v1.ts';
import { type ApiError, isNotFound, type KubeApi, type ListQuery } from '../kubeapi/kube-api.ts';
import { keyOf } from '../kubeapi/object-store.ts';
import { Reflector } from '../kubeapi/reflector.ts';
import {
  clusterTrustBundles,
  configMaps,
  persistentVolumeClaims,
  persistentVolumes,
  type Resource,
  secrets,
} from '../kubeapi/resources.ts';
import { type BackoffPolicy, backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type ObjectKind, type ObjectOf, type ObjectRef, type ObjectSource, refKey } from './object-source.ts';

type Held = ObjectOf[ObjectKind];

/** One object that somebody holds. */
interface Watched {
  readonly ref: ObjectRef;
  readonly owners: Set<string>;
  /** Undefined for what may only be read: that is asked for anew each time. */
  readonly reflector: Reflector<Held> | undefined;
  readonly stop: AbortController;
  /** The answer to the first question, until the reflector knows better. A failed one is asked again. */
  first: Promise<Held | undefined> | undefined;
  /** Somebody wants to know: until then nothing that comes is a change. */
  asked: boolean;
  /** The resourceVersion last given away or told, '' for an object that is not there. */
  seen: string | undefined;
  /** An immutable object: good for ever, and not watched any more. */
  settled: Held | undefined;
}

const versionOf = (object: Held | undefined): string => object?.metadata.resourceVersion ?? '';

const resources: Readonly<Record<ObjectKind, Resource<Held>>> = {
  ConfigMap: configMaps,
  Secret: secrets,
  PersistentVolumeClaim: persistentVolumeClaims,
  PersistentVolume: persistentVolumes,
  ClusterTrustBundle: clusterTrustBundles,
  SignerTrustBundles: clusterTrustBundles,
};

/** A node's rights to these are for single reads: a watch would be refused. */
const readOnly: ReadonlySet<ObjectKind> = new Set(['PersistentVolumeClaim', 'PersistentVolume']);
/** How often such an object is looked at while somebody waits for it. */
const lookAgain: BackoffPolicy = { initialMs: 500, maxMs: 8_000 };

const queryOf = ({ kind, namespace, name }: ObjectRef): ListQuery => ({
  ...(namespace === '' ? {} : { namespace }),
  fieldSelector: kind === 'SignerTrustBundles' ? `spec.signerName=${name}` : `metadata.name=${name}`,
});

/**
 * The objects that volumes are made from, as the API server has them, each that a pod on this node refers to watched by itself: that is all
 * a node's credentials are good for. An object is watched once however many pods hold it, and no longer than they do.
 *
 * What a node may not watch, claims and their volumes, is read again from time to time as long as it is held, which
 * is while a pod waits for it.
 *
 * The first answer comes from a plain GET, one round trip, with the server's own words when it refuses; the watch
 * gets going at the same time and is what counts from then on.
 */
export class ApiObjectSource implements ObjectSource {
  readonly #api: KubeApi;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #watched = new Map<string, Watched>();
  readonly #listeners = new Set<(ref: ObjectRef) => void>();

  constructor(options: { readonly api: KubeApi; readonly clock: Clock; readonly log: Log }) {
    this.#api = options.api;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  acquire(owner: string, refs: readonly ObjectRef[]): void {
    const wanted = new Set(refs.map(refKey));
    for (const ref of refs) this.#watch(ref).owners.add(owner);
    for (const [key, watched] of this.#watched) if (!wanted.has(key)) this.#drop(owner, key, watched);
  }

  release(owner: string): void {
    for (const [key, watched] of this.#watched) this.#drop(owner, key, watched);
  }

  async get<K extends ObjectKind>(
    kind: K,
    { namespace, name }: { readonly namespace: string; readonly name: string },
    signal: AbortSignal,
  ): Promise<ObjectOf[K] | undefined> {
    signal.throwIfAborted();
    const ref = { kind, namespace, name };
    const watched = this.#watched.get(refKey(ref));
    if (!watched) throw new Error(`object ${JSON.stringify(namespace)}/${JSON.stringify(name)} not registered`);
    watched.asked = true;
    if (!watched.reflector) {
      const object = await untilAborted(this.#read(watched), signal);
      watched.seen = versionOf(object);
      return object as ObjectOf[K] | undefined;
    }
    const now = this.#current(watched);
    if (now) watched.seen = versionOf(now.object);
    const answer = now ? now.object : await untilAborted(this.#ask(watched), signal);
    // The watch may have overtaken the answer on the way.
    return (this.#current(watched)?.object ?? answer) as ObjectOf[K] | undefined;
  }

  onChange(listener: (ref: ObjectRef) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** How many objects are held, and how many of them are being watched. */
  get counts(): { readonly held: number; readonly watched: number } {
    const held = [...this.#watched.values()];
    return { held: held.length, watched: held.filter((w) => !w.stop.signal.aborted).length };
  }

  #watch(ref: ObjectRef): Watched {
    const key = refKey(ref);
    const known = this.#watched.get(key);
    if (known) return known;
    const reflector = readOnly.has(ref.kind) ? undefined : this.#reflectorOf(ref, key);
    const watched: Watched = {
      ref,
      owners: new Set(),
      reflector,
      stop: new AbortController(),
      first: undefined,
      asked: false,
      seen: undefined,
      settled: undefined,
    };
    this.#watched.set(key, watched);
    if (!reflector) {
      void this.#look(watched);
      return watched;
    }
    reflector.subscribe((_, object) => {
      this.#heard(watched, ref.kind === 'SignerTrustBundles' ? bundlesOf(ref, reflector.store.values()) : object);
    });
    void reflector.run(watched.stop.signal);
    return watched;
  }

  #reflectorOf(ref: ObjectRef, key: string): Reflector<Held> {
    return new Reflector<Held>({
      api: this.#api,
      resource: resources[ref.kind],
      query: queryOf(ref),
      clock: this.#clock,
      log: this.#log,
      transform: strip,
      // The pods' own watch tells the operator when the server is away; once for each object would drown that.
      onHealth: (error) => {
        if (error !== undefined) this.#log.debug({ object: key, ...errorFields(error) }, 'object not followed');
      },
    });
  }

  /** Reads, now and then, what cannot be watched. */
  async #look(watched: Watched): Promise<void> {
    const { signal } = watched.stop;
    for (let looks = 1; !signal.aborted; looks++) {
      await this.#clock.sleep(backoffDelay(looks, lookAgain), signal).catch(() => {});
      if (signal.aborted || !watched.asked) continue;
      const [found] = await Promise.allSettled([this.#read(watched)]);
      if (!signal.aborted && found.status === 'fulfilled') this.#heard(watched, found.value);
    }
  }

  #drop(owner: string, key: string, watched: Watched): void {
    if (!watched.owners.delete(owner) || watched.owners.size > 0) return;
    this.#watched.delete(key);
    watched.stop.abort();
  }

  #current({ settled, reflector, ref }: Watched): { readonly object: Held | undefined } | undefined {
    if (settled) return { object: settled };
    if (!reflector?.hasSynced) return undefined;
    if (ref.kind === 'SignerTrustBundles') return { object: bundlesOf(ref, reflector.store.values()) };
    return { object: reflector.store.get(ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`) };
  }

  #ask(watched: Watched): Promise<Held | undefined> {
    watched.first ??= this.#fetch(watched).catch((error) => {
      watched.first = undefined;
      throw error;
    });
    return watched.first;
  }

  async #fetch(watched: Watched): Promise<Held | undefined> {
    const object = await this.#read(watched);
    watched.seen ??= versionOf(object);
    if (object) this.#settle(watched, object);
    return object;
  }

  /** What the server has now. */
  async #read({ ref, stop: { signal } }: Watched): Promise<Held | undefined> {
    try {
      if (ref.kind === 'SignerTrustBundles') {
        const { items } = await this.#api.list(clusterTrustBundles, queryOf(ref), signal);
        return bundlesOf(ref, items.map(strip));
      }
      const { namespace, name } = ref;
      return strip(await this.#api.get(resources[ref.kind], namespace === '' ? { name } : { namespace, name }, signal));
    } catch (error) {
      if (!isNotFound(error)) throw error;
      if (resources[ref.kind] === clusterTrustBundles && isUnserved(error)) throw notServed(resources[ref.kind], error);
      return undefined;
    }
  }

  #heard(watched: Watched, object: Held | undefined): void {
    const version = versionOf(object);
    if (object) this.#settle(watched, object);
    if (!watched.asked || watched.seen === version) return;
    watched.seen = version;
    for (const listener of this.#listeners) listener(watched.ref);
  }

  #settle(watched: Watched, object: Held): void {
    if (!('immutable' in object) || object.immutable !== true || watched.settled) return;
    watched.settled = object;
    watched.stop.abort();
  }
}

/** What nobody here reads can be as large as the object itself: annotations often repeat it whole. */
function strip<T extends Held>(object: T): T {
  const { annotations: _, managedFields: __, creationTimestamp: ___, finalizers: ____, ...metadata } = object.metadata;
  return { ...object, metadata };
}

/** All bundles as one object, which is of another version whenever one of them is. */
function bundlesOf({ name }: ObjectRef, bundles: Iterable<Held>): ObjectOf['SignerTrustBundles'] {
  const items = [...bundles].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1)) as ClusterTrustBundle[];
  const resourceVersion = items.map((item) => `${item.metadata.name}@${versionOf(item)}`).join(' ');
  return { metadata: { name, resourceVersion }, items };
}

/** An API server answers alike for an object and for a whole kind that it does not have, but names only the object. */
const isUnserved = (error: ApiError): boolean => error.details?.name === undefined;

const notServed = (resource: Resource<Held>, cause: unknown): AgentError =>
  new AgentError('NotServed', `the API server does not serve ${resource.plural} (${resource.apiVersion})`, {
    cause,
    hint: `switch ${resource.apiVersion} on in the API server, or do without ${resource.plural}`,
    retryable: true,
  });

/** Others may wait for the same answer: a caller that gives up leaves it to them. */
function untilAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason);
    signal.addEventListener('abort', giveUp, { once: true });
    answer.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}
