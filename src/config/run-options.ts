/** The flags of `keelson run` as they were typed: not looked into yet. */
export interface RunOptions {
  readonly config: readonly string[];
  readonly kubeconfig?: string;
  readonly hostnameOverride?: string;
  readonly nodeIp: readonly string[];
  readonly rootDir: string;
  readonly certDir?: string;
  readonly nodeLabels: readonly string[];
  readonly registerWithTaints: readonly string[];
  readonly podManifestPath?: string;
  readonly containerRuntimeEndpoint?: string;
  readonly imageCredentialProviderConfig?: string;
  readonly imageCredentialProviderBinDir?: string;
  readonly v?: string;
  readonly proxyMode?: string;
}

export const defaultRootDir = '/var/lib/kubelet';

/** Nothing typed at all. */
export const noOptions: RunOptions = {
  config: [],
  nodeIp: [],
  rootDir: defaultRootDir,
  nodeLabels: [],
  registerWithTaints: [],
};
