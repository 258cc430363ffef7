import { deepFreeze } from '../lib/deep-freeze.ts';
import { findConflicts, findUnheeded } from './check-config.ts';
import type { Config } from './config.ts';
import { ConfigError, type ConfigProblem } from './config-error.ts';
import type { KubeletConfiguration, KubeProxyConfiguration } from './kinds.ts';
import { defaultEvictionHard } from './kubelet-keys.ts';
import { type FilesReading, fromFolderOf, readConfigFiles } from './read-config-files.ts';
import { isNodeName, readFlags } from './read-flags.ts';
import type { RunOptions } from './run-options.ts';

export interface LoadedConfig {
  readonly config: Config;
  /** What was accepted, and has no effect or another one than upstream. */
  readonly warnings: readonly ConfigProblem[];
}

/**
 * Files and flags → one validated, deep-frozen Config; flags win. Throws a ConfigError that holds every
 * problem found, in all files and flags.
 */
export function loadConfig(options: RunOptions, cwd = process.cwd()): LoadedConfig {
  const read = readFlags(options, cwd);
  const files = readConfigFiles(options.config);
  const { KubeletConfiguration: fromFile, KubeProxyConfiguration, KeelsonConfiguration } = files.documents;
  const kubelet = { ...completeKubelet(fromFile.values, fromFile.set, files), ...read.kubelet };
  const verbosity = read.verbosity ?? kubelet.logging.verbosity;
  const proxy = { ...completeProxy(KubeProxyConfiguration.values, KubeProxyConfiguration.set), ...read.proxy };
  const hostname = proxy.hostnameOverride.trim().toLowerCase();
  const problems = [...files.problems, ...read.problems, ...nameProblems(hostname, read.flags.hostnameOverride, files)];
  for (const { kind, path, ...said } of findConflicts(kubelet, proxy)) {
    problems.push({ ...files.locate(kind, path), ...said });
  }
  if (problems.length > 0) throw new ConfigError(problems);
  const config: Config = {
    kubelet: {
      ...kubelet,
      imageServiceEndpoint: kubelet.imageServiceEndpoint || kubelet.containerRuntimeEndpoint,
      logging: { ...kubelet.logging, verbosity },
    },
    proxy,
    keelson: KeelsonConfiguration.values,
    flags: { ...read.flags, ...(hostname ? { hostnameOverride: hostname } : {}), verbosity },
  };
  return { config: deepFreeze(structuredClone(config)), warnings: [...files.warnings, ...notes(config, files)] };
}

/** Defaults that depend on other keys, and paths relative to the file. */
function completeKubelet(
  values: KubeletConfiguration,
  set: ReadonlySet<string>,
  files: FilesReading,
): KubeletConfiguration {
  const { file } = files.locate('KubeletConfiguration', []);
  const followsUpdates = set.has('nodeStatusUpdateFrequency') && !set.has('nodeStatusReportFrequency');
  const { x509 } = values.authentication;
  return {
    ...values,
    staticPodPath: fromFolderOf(file, values.staticPodPath),
    resolvConf: fromFolderOf(file, values.resolvConf),
    tlsCertFile: fromFolderOf(file, values.tlsCertFile),
    tlsPrivateKeyFile: fromFolderOf(file, values.tlsPrivateKeyFile),
    authentication: { ...values.authentication, x509: { clientCAFile: fromFolderOf(file, x509.clientCAFile) } },
    nodeStatusReportFrequency: followsUpdates ? values.nodeStatusUpdateFrequency : values.nodeStatusReportFrequency,
    evictionHard: values.mergeDefaultEvictionSettings
      ? { ...defaultEvictionHard, ...values.evictionHard }
      : values.evictionHard,
  };
}

/** Without places of their own the proxy's ports are of the family of `bindAddress`, as upstream. */
function completeProxy(values: KubeProxyConfiguration, set: ReadonlySet<string>): KubeProxyConfiguration {
  if (!values.bindAddress.includes(':')) return values;
  return {
    ...values,
    healthzBindAddress: set.has('healthzBindAddress') ? values.healthzBindAddress : '[::]:10256',
    metricsBindAddress: set.has('metricsBindAddress') ? values.metricsBindAddress : '[::1]:10249',
  };
}

/** One process is one node: both halves must mean the same one. */
function nameProblems(hostname: string, flag: string | undefined, files: FilesReading): ConfigProblem[] {
  const place = files.locate('KubeProxyConfiguration', ['hostnameOverride']);
  if (hostname && !isNodeName(hostname)) return [{ ...place, message: `"${hostname}" cannot be a node's name` }];
  if (!hostname || !flag || hostname === flag) return [];
  return [
    { ...place, message: `"${hostname}" is not the node of --hostname-override, "${flag}"`, hint: 'give one of them' },
  ];
}

function notes(config: Config, files: FilesReading): ConfigProblem[] {
  const unheeded = findUnheeded(config.kubelet).map(({ kind, path, ...said }) => ({
    ...files.locate(kind, path),
    ...said,
  }));
  if (config.flags.kubeconfig !== undefined || config.kubelet.staticPodPath !== '') return unheeded;
  const idle: ConfigProblem = {
    path: '--kubeconfig',
    message: 'neither a kubeconfig nor a manifest directory is given: there is nothing to run',
    hint: 'give --kubeconfig FILE or --pod-manifest-path DIR',
  };
  return [...unheeded, idle];
}
