import type { KubeObject } from '../api/meta-v1.ts';
import { errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { quote, type Schema } from '../lib/schema.ts';
import { BadObjects } from './bad-objects.ts';
import type { WatchEvent } from './kube-api.ts';
import { readObject } from './read-object.ts';
import type { Resource } from './resources.ts';

/** `object` is undefined for a deletion, `previous` for an addition. */
export type StoreListener<T> = (key: string, object: T | undefined, previous: T | undefined) => void;

/** 'namespace/name', or 'name' for cluster-scoped objects. */
export const keyOf = ({ metadata }: KubeObject): string =>
  metadata.namespace ? `${metadata.namespace}/${metadata.name}` : metadata.name;

export interface ObjectStoreOptions<T extends KubeObject> {
  readonly resource: Resource<T>;
  readonly log: Log;
  readonly transform?: ((object: T) => T) | undefined;
  readonly shape?: Schema<object> | undefined;
}

/**
 * The objects of one kind by key. Listeners hear only of real changes: the same version again is none,
 * and an object replaced by a namesake is a deletion followed by an addition.
 *
 * What comes from the server is read here. An object that cannot be used is said once and costs only itself: it is
 * not taken, and where a good state of it is known, that stays until the next good one or its deletion.
 */
export class ObjectStore<T extends KubeObject> {
  readonly #objects = new Map<string, T>();
  readonly #listeners = new Set<StoreListener<T>>();
  readonly #options: ObjectStoreOptions<T>;
  readonly #bad: BadObjects;

  constructor(options: ObjectStoreOptions<T>) {
    this.#options = options;
    this.#bad = new BadObjects(options.log);
  }

  get objects(): ReadonlyMap<string, T> {
    return this.#objects;
  }

  subscribe(listener: StoreListener<T>): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  /** Makes the store hold exactly these objects, which `collect` has gathered. */
  replace(list: ReadonlyMap<string, T>): void {
    for (const [key, previous] of [...this.#objects]) if (!list.has(key)) this.#delete(key, previous);
    for (const [key, object] of list) this.#set(key, object);
  }

  apply(event: WatchEvent<T>): void {
    const change = this.#read(event);
    if (change?.object) this.#set(change.key, change.object);
    const previous = change && !change.object && this.#objects.get(change.key);
    if (previous) this.#delete(change.key, previous);
  }

  /** Applies an event to a list that is still being received. */
  collect(list: Map<string, T>, event: WatchEvent<T>): void {
    const change = this.#read(event);
    if (change?.object) list.set(change.key, change.object);
    else if (change) list.delete(change.key);
  }

  /** What an event says of which object; undefined for nothing, also where it makes no sense. */
  #read(event: WatchEvent<T>): { readonly key: string; readonly object: T | undefined } | undefined {
    const { resource, shape } = this.#options;
    if (event.type === 'BOOKMARK') return undefined;
    if (!isChange(event)) {
      const { type } = event as { readonly type: unknown };
      this.#bad.found(`events of ${resource.plural}`, [
        `type ${quote(type)} is none of ${changes.join(', ')}, BOOKMARK`,
      ]);
      return undefined;
    }
    const { key, about, object, faults } = readObject(resource, event.object, shape);
    const previous = key === undefined ? undefined : this.#objects.get(key);
    if (event.type === 'DELETED' && key !== undefined) {
      this.#bad.mended(about);
      return { key, object: undefined };
    }
    if (key === undefined || faults.length > 0) {
      this.#bad.found(about, faults, previous !== undefined);
      return key === undefined || !previous ? undefined : { key, object: previous };
    }
    try {
      const kept = this.#strip(object);
      this.#bad.mended(about);
      return { key, object: kept };
    } catch (error) {
      this.#bad.found(about, [messageOf(error)], previous !== undefined);
      return previous && { key, object: previous };
    }
  }

  #set(key: string, object: T): void {
    const previous = this.#objects.get(key);
    if (previous === object) return;
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
    this.#objects.set(key, object);
    this.#tell(key, object, previous);
  }

  #delete(key: string, previous: T): void {
    this.#objects.delete(key);
    this.#tell(key, undefined, previous);
  }

  #strip(object: T): T {
    const { transform = (same: T) => same } = this.#options;
    if (object.metadata.managedFields === undefined) return transform(object);
    const { managedFields: _, ...metadata } = object.metadata;
    return transform({ ...object, metadata });
  }

  #tell(key: string, object: T | undefined, previous: T | undefined): void {
    for (const listener of this.#listeners) {
      try {
        listener(key, object, previous);
      } catch (error) {
        // One listener's bug must neither stop the others nor the stream.
        this.#options.log.error({ key, ...errorFields(error) }, 'a listener of the object store failed');
      }
    }
  }
}

const changes = ['ADDED', 'MODIFIED', 'DELETED'] as const;
const isChange = ({ type }: WatchEvent<KubeObject>): boolean => changes.some((known) => known === type);
