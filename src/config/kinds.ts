import { keelsonKeys } from './keelson-keys.ts';
import type { Table, Values } from './keys.ts';
import { kubeletKeys } from './kubelet-keys.ts';
import { proxyKeys } from './proxy-keys.ts';

/**
 * The configuration as the program sees it: upstream's key names, durations in milliseconds, every
 * default filled in. What each key means is said by upstream's reference; which of them keelson heeds
 * is said by the tables.
 */
export type KubeletConfiguration = Values<typeof kubeletKeys>;
export type KubeProxyConfiguration = Values<typeof proxyKeys>;
export type KeelsonConfiguration = Values<typeof keelsonKeys>;

/** The kinds of documents that a configuration file may hold. */
export const configKinds = {
  KubeletConfiguration: { apiVersion: 'kubelet.config.k8s.io/v1beta1', table: kubeletKeys },
  KubeProxyConfiguration: { apiVersion: 'kubeproxy.config.k8s.io/v1alpha1', table: proxyKeys },
  KeelsonConfiguration: { apiVersion: 'keelson.io/v1alpha1', table: keelsonKeys },
} as const satisfies Readonly<Record<string, { apiVersion: string; table: Table }>>;

export type ConfigKind = keyof typeof configKinds;

export const isConfigKind = (kind: unknown): kind is ConfigKind =>
  typeof kind === 'string' && Object.hasOwn(configKinds, kind);
