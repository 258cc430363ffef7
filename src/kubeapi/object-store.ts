import type { KubeObject } from '../api/meta-v1.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { WatchEvent } from './kube-api.ts';

/** `object` is undefined for a deletion, `previous` for an addition. */
export type StoreListener<T> = (key: string, object: T | undefined, previous: T | undefined) => void;

/** 'namespace/name', or 'name' for cluster-scoped objects. */
export const keyOf = ({ metadata }: KubeObject): string =>
  metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name;

/**
 * The objects of one kind by key. Listeners hear only of real changes: the same version again is none,
 * and an object replaced by a namesake is a deletion followed by an addition.
 */
export class ObjectStore<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #listeners = new Set<StoreListener<T>>();
  readonly #log: Log;
  readonly #transform: (object: T) => T;

  constructor(log: Log, transform: (object: T) => T = (object) => object) {
    this.#log = log;
    this.#transform = transform;
  }

  get objects(): ReadonlyMap<string, T> {
    return this.#objects;
  }

  subscribe(listener: StoreListener<T>): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Makes the store hold exactly these objects. */
  replace(items: readonly T[]): void {
    const kept = new Set(items.map(keyOf));
    for (const [key, previous] of [...this.#objects]) if (!kept.has(key)) this.#delete(key, previous);
    for (const item of items) this.#set(item);
  }

  apply(event: WatchEvent<T>): void {
    if (event.type === 'BOOKMARK') return;
    if (event.type !== 'DELETED') {
      this.#set(event.object);
      return;
    }
    const key = keyOf(event.object);
    const previous = this.#objects.get(key);
    if (previous) this.#delete(key, previous);
  }

  /** Applies an event to a list that is still being received. */
  collect(list: Map<string, T>, event: WatchEvent<T>): void {
    if (event.type === 'BOOKMARK') return;
    if (event.type === 'DELETED') list.delete(keyOf(event.object));
    else list.set(keyOf(event.object), this.#strip(event.object));
  }

  #set(object: T): void {
    const key = keyOf(object);
    const previous = this.#objects.get(key);
    if (previous && previous.metadata.uid !== object.metadata.uid) {
      this.#delete(key, previous);
      this.#put(key, object, undefined);
      return;
    }
    const { resourceVersion } = object.metadata;
    if (previous && resourceVersion !== undefined && previous.metadata.resourceVersion === resourceVersion) return;
    this.#put(key, object, previous);
  }

  #put(key: string, object: T, previous: T | undefined): void {
    const kept = this.#strip(object);
    this.#objects.set(key, kept);
    this.#tell(key, kept, previous);
  }

  #delete(key: string, previous: T): void {
    this.#objects.delete(key);
    this.#tell(key, undefined, previous);
  }

  #strip(object: T): T {
    if (object.metadata.managedFields === undefined) return this.#transform(object);
    const { managedFields: _, ...metadata } = object.metadata;
    return this.#transform({ ...object, metadata });
  }

  #tell(key: string, object: T | undefined, previous: T | undefined): void {
    for (const listener of this.#listeners) {
      try {
        listener(key, object, previous);
      } catch (error) {
        // One listener's bug must neither stop the others nor the stream.
        this.#log.error({ key, ...errorFields(error) }, 'a listener of the object store failed');
      }
    }
  }
}
