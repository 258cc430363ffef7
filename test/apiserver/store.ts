import { apiVersionOf, KINDS, type ResourceKind } from './kinds.ts';
import { type ApiObject, isFields } from './objects.ts';
import { expired } from './status.ts';

/** One committed write. `previous` is missing for a creation; `object` is the last state for a deletion. */
export interface Change {
  readonly version: number;
  readonly kind: ResourceKind;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: ApiObject;
  readonly previous?: ApiObject;
}

/** What a storage file holds. */
export interface Snapshot {
  readonly version: number;
  readonly objects: readonly ApiObject[];
}

const HISTORY_LIMIT = 8192;

/**
 * The objects, their common resourceVersion and a bounded history for watches. It owns the truth and
 * nothing else: no defaults, no validation, no rights. Objects that are in it are never modified;
 * every write puts a new one in place.
 */
export class Store {
  #version = 1;
  /** Changes with a version up to this one are forgotten: a watch from before it has to list again. */
  #compacted = 0;
  #history: Change[] = [];
  readonly #tables = new Map<ResourceKind, Map<string, ApiObject>>();
  readonly #listeners = new Set<(change: Change) => void>();

  get version(): number {
    return this.#version;
  }

  get(kind: ResourceKind, namespace: string | undefined, name: string): ApiObject | undefined {
    return this.#table(kind).get(keyOf(kind, namespace, name));
  }

  /** Every object of a kind in the order of namespace and name. */
  list(kind: ResourceKind): ApiObject[] {
    return [...this.#table(kind)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, object]) => object);
  }

  /** Objects of a kind in no particular order, without the cost of sorting. */
  values(kind: ResourceKind): IterableIterator<ApiObject> {
    return this.#table(kind).values();
  }

  /** Stores the object under a new resourceVersion (which it writes into the object) and tells the watches. */
  put(kind: ResourceKind, object: ApiObject): ApiObject {
    const table = this.#table(kind);
    const key = keyOf(kind, object.metadata.namespace, object.metadata.name);
    const previous = table.get(key);
    object.metadata.resourceVersion = `${++this.#version}`;
    table.set(key, object);
    this.#commit({
      version: this.#version,
      kind,
      type: previous ? 'MODIFIED' : 'ADDED',
      object,
      ...(previous ? { previous } : {}),
    });
    return object;
  }

  /** Removes the object; its last state gets a resourceVersion of its own, as the DELETED event shows it. */
  remove(kind: ResourceKind, namespace: string | undefined, name: string): ApiObject | undefined {
    const key = keyOf(kind, namespace, name);
    const previous = this.#table(kind).get(key);
    if (!previous) return undefined;
    this.#table(kind).delete(key);
    const object = { ...previous, metadata: { ...previous.metadata, resourceVersion: `${++this.#version}` } };
    this.#commit({ version: this.#version, kind, type: 'DELETED', object, previous });
    return object;
  }

  /** The changes after `version`; throws 410 Expired when some of them are forgotten. */
  changesSince(kind: ResourceKind, version: number): Change[] {
    if (version < this.#compacted) throw expired(version, this.#compacted);
    return this.#history.filter((change) => change.kind === kind && change.version > version);
  }

  /** Whether a watch can still start at this version. */
  remembers(version: number): boolean {
    return version >= this.#compacted;
  }

  /** Forgets the history, as etcd's compaction does: every older watch expires. */
  compact(): void {
    this.#compacted = this.#version;
    this.#history = [];
  }

  /** Called synchronously after each commit, in order. */
  subscribe(listener: (change: Change) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  snapshot(): Snapshot {
    return { version: this.#version, objects: KINDS.flatMap((kind) => this.list(kind)) };
  }

  /** Takes over a snapshot; the history starts at its version. */
  restore(snapshot: Snapshot): void {
    this.#version = snapshot.version;
    this.compact();
    this.#tables.clear();
    for (const object of snapshot.objects) {
      const kind = KINDS.find((k) => k.kind === object.kind && apiVersionOf(k) === object.apiVersion);
      if (kind) this.#table(kind).set(keyOf(kind, object.metadata.namespace, object.metadata.name), object);
    }
  }

  #commit(change: Change): void {
    this.#history.push(change);
    if (this.#history.length > HISTORY_LIMIT) {
      const dropped = this.#history.splice(0, HISTORY_LIMIT / 2);
      this.#compacted = dropped.at(-1)?.version ?? this.#compacted;
    }
    for (const listener of this.#listeners) listener(change);
  }

  #table(kind: ResourceKind): Map<string, ApiObject> {
    let table = this.#tables.get(kind);
    if (!table) {
      table = new Map();
      this.#tables.set(kind, table);
    }
    return table;
  }
}

const keyOf = (kind: ResourceKind, namespace: string | undefined, name: string): string =>
  kind.namespaced ? `${namespace ?? ''}/${name}` : name;

const texts = new WeakMap<ApiObject, string>();

/**
 * The object as an item of a list: JSON without kind and apiVersion, which the list says once.
 * Remembered as long as the object lives, because a change goes to many watches.
 */
export function itemJsonOf(object: ApiObject): string {
  let text = texts.get(object);
  if (text === undefined) {
    const { kind: _, apiVersion: __, metadata, ...rest } = object;
    text = JSON.stringify({ metadata, ...rest });
    texts.set(object, text);
  }
  return text;
}

/** The whole object as JSON. */
export const jsonOf = (object: ApiObject): string =>
  `{"kind":${JSON.stringify(object.kind)},"apiVersion":${JSON.stringify(object.apiVersion)},${itemJsonOf(object).slice(1)}`;

/** Whether a parsed storage file looks like one. */
export const isSnapshot = (value: unknown): value is Snapshot =>
  isFields(value) && typeof value['version'] === 'number' && Array.isArray(value['objects']);
