import type { ClusterTrustBundle, ConfigMap, PersistentVolume, PersistentVolumeClaim, Secret } from '../api/core-v1.ts';
import type { KubeObject } from '../api/meta-v1.ts';

export interface ObjectOf {
  readonly ConfigMap: ConfigMap;
  readonly Secret: Secret;
  readonly PersistentVolumeClaim: PersistentVolumeClaim;
  readonly PersistentVolume: PersistentVolume;
  readonly ClusterTrustBundle: ClusterTrustBundle;
  /** No object of the API, but all bundles of the signer of that name. */
  readonly SignerTrustBundles: TrustBundles;
}

export type ObjectKind = keyof ObjectOf;

export interface TrustBundles extends KubeObject {
  readonly items: readonly ClusterTrustBundle[];
}

export interface ObjectRef {
  readonly kind: ObjectKind;
  /** '' for what is in none. */
  readonly namespace: string;
  readonly name: string;
}

/** Where volumes (and whoever else refers to such objects) get them from. */
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
