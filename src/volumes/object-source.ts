import type { ConfigMap, Secret } from '../api/core-v1.ts';

export type ObjectKind = 'ConfigMap' | 'Secret';

export interface ObjectRef {
  readonly kind: ObjectKind;
  readonly namespace: string;
  readonly name: string;
}

export interface ObjectOf {
  readonly ConfigMap: ConfigMap;
  readonly Secret: Secret;
}

/** Where volumes (and whoever else refers to ConfigMaps and Secrets) get them from. */
export interface ObjectSource {
  /** Keeps the objects current for `owner`, a pod's UID; replaces what the owner held before. Does not wait. */
  acquire(owner: string, refs: readonly ObjectRef[]): void;
  /** The owner needs nothing more. */
  release(owner: string): void;
  /**
   * The object as it is now, undefined when there is none; waits for the first answer of the source. Only for
   * objects that somebody holds. Throws when the source cannot tell.
   */
  get<K extends ObjectKind>(
    kind: K,
    ref: { readonly namespace: string; readonly name: string },
    signal: AbortSignal,
  ): Promise<ObjectOf[K] | undefined>;
  /** Calls with what appeared, changed or went. */
  onChange(listener: (ref: ObjectRef) => void): Disposable;
}

export const refKey = ({ kind, namespace, name }: ObjectRef): string => `${kind}/${namespace}/${name}`;
