import type { Taint } from '../api/core-v1.ts';
import type { CredentialProviders } from './credential-providers.ts';
import type { KeelsonConfiguration, KubeletConfiguration, KubeProxyConfiguration } from './kinds.ts';

/** Everything the operator decided, validated, with defaults filled in, deep-frozen. Durations are milliseconds. */
export interface Config {
  readonly kubelet: KubeletConfiguration;
  readonly proxy: KubeProxyConfiguration;
  readonly keelson: KeelsonConfiguration;
  readonly flags: Flags;
}

/** What the kubelet knows only as flags. */
export interface Flags {
  /** Absent: standalone, from the manifest directory alone. */
  readonly kubeconfig?: string;
  /** In lower case; the host name when the flag is absent is the caller's to find. */
  readonly hostnameOverride?: string;
  readonly nodeIps: readonly string[];
  readonly rootDir: string;
  readonly certDir: string;
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly registerWithTaints: readonly Taint[];
  /** Programs that know credentials for images; absent when none are configured. */
  readonly credentialProviders?: CredentialProviders;
  readonly verbosity: number;
}
