import type { ConfigMap, Secret } from '../api/core-v1.ts';
import type { KubeObject } from '../api/meta-v1.ts';
import { AgentError } from '../lib/errors.ts';
import { type ObjectKind, type ObjectOf, type ObjectRef, type ObjectSource, refKey } from './object-source.ts';

/** What the manifest directory holds at the moment. */
export interface ManifestObjects {
  readonly configMaps: readonly ConfigMap[];
  readonly secrets: readonly Secret[];
}

/** ConfigMaps and Secrets from the manifest directory, for a node without an API server. */
export class ManifestObjectSource implements ObjectSource {
  readonly #read: () => ManifestObjects;
  readonly #listeners = new Set<(ref: ObjectRef) => void>();
  #known = new Map<string, { readonly ref: ObjectRef; readonly object: KubeObject }>();

  constructor(read: () => ManifestObjects) {
    this.#read = read;
  }

  /** To be called whenever the directory may hold something else: tells the listeners what differs. */
  changed(): void {
    const before = this.#known;
    this.#load();
    const refs = new Map([...before, ...this.#known].map(([key, { ref }]) => [key, ref]));
    for (const [key, ref] of refs) {
      if (before.get(key)?.object === this.#known.get(key)?.object) continue;
      for (const listener of this.#listeners) listener(ref);
    }
  }

  // Everything is at hand: nothing to keep current.
  acquire(): void {}
  release(): void {}

  async get<K extends ObjectKind>(
    kind: K,
    { namespace, name }: { readonly namespace: string; readonly name: string },
    signal: AbortSignal,
  ): Promise<ObjectOf[K] | undefined> {
    signal.throwIfAborted();
    if (kind !== 'ConfigMap' && kind !== 'Secret') {
      throw new AgentError('NoApiServer', `there is no API server to ask for ${kind} ${JSON.stringify(name)}`, {
        hint: 'leave it out of pods of a node by itself, or join a cluster',
      });
    }
    if (this.#known.size === 0) this.#load();
    return this.#known.get(refKey({ kind, namespace, name }))?.object as ObjectOf[K] | undefined;
  }

  onChange(listener: (ref: ObjectRef) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) };
  }

  #load(): void {
    const { configMaps, secrets } = this.#read();
    this.#known = new Map();
    const add = (kind: ObjectKind, object: KubeObject) => {
      const ref = { kind, namespace: object.metadata.namespace ?? 'default', name: object.metadata.name };
      this.#known.set(refKey(ref), { ref, object });
    };
    for (const object of configMaps) add('ConfigMap', object);
    for (const object of secrets) add('Secret', object);
  }
}
