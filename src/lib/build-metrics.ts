import type { Registry } from './metrics.ts';

export interface BuildFacts {
  /** 'v1.36.2+keelson.0.1.0': what tools compare with the control plane's. */
  readonly kubernetesVersion: string;
  readonly version: string;
}

/** What runs here. Upstream's labels that say how Go built it are empty: no Go did. */
export function buildMetrics(registry: Registry, { kubernetesVersion, version }: BuildFacts): void {
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(kubernetesVersion) ?? [];
  const platform = `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const kubernetes: Readonly<Record<string, string>> = {
    build_date: '',
    compiler: '',
    git_commit: '',
    git_tree_state: '',
    git_version: kubernetesVersion,
    go_version: '',
    major,
    minor,
    platform,
  };
  const info = (name: string, help: string, facts: Readonly<Record<string, string>>) =>
    registry.gauge({ name, help, labels: Object.keys(facts) }).set(1, ...Object.values(facts));
  info('kubernetes_build_info', 'The release of Kubernetes whose node agent this replaces.', kubernetes);
  info('keelson_build_info', 'The release of keelson.', { node_version: process.version, version });
}
