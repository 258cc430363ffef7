import { isIP } from 'node:net';
import { resolve } from 'node:path';
import type { Taint } from '../api/core-v1.ts';
import { type Complain, pathText, type Schema } from '../lib/schema.ts';
import type { Flags } from './config.ts';
import type { ConfigProblem } from './config-error.ts';
import { readCredentialProviders } from './credential-providers.ts';
import { kubeletKeys } from './kubelet-keys.ts';
import { proxyKeys } from './proxy-keys.ts';
import type { RunOptions } from './run-options.ts';
import { isLabelValue, isQualifiedName, taint } from './values.ts';

/** What the flags say: on their own, and instead of what the files say. */
export interface FlagReading {
  readonly flags: Omit<Flags, 'verbosity'>;
  /** Values by key that win over the files'. */
  readonly kubelet: Readonly<Record<string, unknown>>;
  readonly proxy: Readonly<Record<string, unknown>>;
  readonly verbosity?: number;
  readonly problems: readonly ConfigProblem[];
}

/** Reads the flags; paths are taken from the working directory `cwd`. */
export function readFlags(options: RunOptions, cwd: string): FlagReading {
  const problems: ConfigProblem[] = [];
  const refuse = (flag: string, message: string, hint?: string) => {
    problems.push({ path: `--${flag}`, message, ...(hint ? { hint } : {}) });
    return undefined;
  };
  const check = <T>(flag: string, schema: Schema<T>, value: unknown): T | undefined => {
    const complain: Complain = (c) => refuse(`${flag}${pathText(c.path)}`, c.message, c.hint);
    return value === undefined ? undefined : schema.read(value, [], complain);
  };
  // An empty path would be the folder that keelson happens to be started in.
  if (options.rootDir === '') refuse('root-dir', '"" is not a folder', 'give a path, or leave the flag out');
  const rootDir = resolve(cwd, options.rootDir);
  const taints = readTaints(options.registerWithTaints, refuse);
  const hostname = readHostname(options.hostnameOverride, refuse);
  const endpoint = check(
    'container-runtime-endpoint',
    kubeletKeys.containerRuntimeEndpoint.schema,
    options.containerRuntimeEndpoint,
  );
  const mode = check('proxy-mode', proxyKeys.mode.schema, options.proxyMode);
  const verbosity = readVerbosity(options.v, refuse);
  const providers = readProviders(options, cwd, problems);
  return {
    flags: {
      ...(options.kubeconfig ? { kubeconfig: resolve(cwd, options.kubeconfig) } : {}),
      ...(hostname ? { hostnameOverride: hostname } : {}),
      nodeIps: readNodeIps(options.nodeIp, refuse),
      rootDir,
      certDir: options.certDir ? resolve(cwd, options.certDir) : resolve(rootDir, 'pki'),
      nodeLabels: readNodeLabels(options.nodeLabels, refuse),
      registerWithTaints: taints,
      ...(providers ? { credentialProviders: providers } : {}),
    },
    kubelet: {
      ...(options.podManifestPath ? { staticPodPath: resolve(cwd, options.podManifestPath) } : {}),
      ...(endpoint ? { containerRuntimeEndpoint: endpoint } : {}),
      ...(taints.length > 0 ? { registerWithTaints: taints } : {}),
    },
    proxy: mode === undefined ? {} : { mode },
    ...(verbosity === undefined ? {} : { verbosity }),
    problems,
  };
}

function readProviders(
  { imageCredentialProviderConfig: file, imageCredentialProviderBinDir: binDir }: RunOptions,
  cwd: string,
  problems: ConfigProblem[],
): Flags['credentialProviders'] {
  if (file && binDir) return readCredentialProviders(resolve(cwd, file), resolve(cwd, binDir), problems);
  if (!file && !binDir) return undefined;
  const [given, other] = file ? ['config', 'bin-dir'] : ['bin-dir', 'config'];
  const path = `--image-credential-provider-${given}`;
  const hint = `give --image-credential-provider-${other} too, or neither`;
  problems.push({ path, message: `does nothing without --image-credential-provider-${other}`, hint });
  return undefined;
}

type Refuse = (flag: string, message: string, hint?: string) => undefined;

const listed = (values: readonly string[]) =>
  values
    .flatMap((value) => value.split(','))
    .map((value) => value.trim())
    .filter((value) => value !== '');

function readVerbosity(v: string | undefined, refuse: Refuse): number | undefined {
  if (v === undefined) return undefined;
  return /^\d{1,2}$/.test(v) ? Number(v) : refuse('v', `"${v}" is not a whole number, 0 or more`);
}

function readHostname(value: string | undefined, refuse: Refuse): string | undefined {
  const name = value?.trim().toLowerCase();
  if (!name || isNodeName(name)) return name;
  return refuse(
    'hostname-override',
    `"${value}" cannot be a node's name`,
    'use lower-case letters, digits, dashes and dots',
  );
}

/** RFC 1123 subdomain, as the API wants node names. */
export function isNodeName(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(name);
}

function readNodeIps(values: readonly string[], refuse: Refuse): string[] {
  const ips = listed(values);
  for (const ip of ips) if (isIP(ip) === 0) refuse('node-ip', `"${ip}" is not an IP address`);
  const families = ips.map(isIP);
  if (ips.length > 2 || new Set(families).size < families.length) {
    refuse('node-ip', `"${ips.join(',')}" is more than one IPv4 and one IPv6 address`);
  }
  return ips;
}

function readNodeLabels(values: readonly string[], refuse: Refuse): Record<string, string> {
  const labels: Record<string, string> = {};
  for (const label of listed(values)) {
    const equals = label.indexOf('=');
    const [key, value] = [label.slice(0, equals), label.slice(equals + 1)];
    if (equals < 1 || !isQualifiedName(key) || !isLabelValue(value)) {
      refuse('node-labels', `"${label}" is not a label`, 'write key=value');
    } else if (!mayLabel(key)) {
      refuse(
        'node-labels',
        `a node may not set the label "${key}" on itself`,
        'use the prefix node.kubernetes.io/ or one of your own',
      );
    } else labels[key] = value;
  }
  return labels;
}

/** Labels of Kubernetes' own namespaces that a node may give itself; the API server refuses the others. */
const ownLabels = new Set([
  'kubernetes.io/hostname',
  'kubernetes.io/arch',
  'kubernetes.io/os',
  'beta.kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/instance-type',
  'failure-domain.beta.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.kubernetes.io/region',
  'failure-domain.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'topology.kubernetes.io/zone',
  'node.kubernetes.io/instance-type',
]);

function mayLabel(key: string): boolean {
  const namespace = key.includes('/') ? (key.split('/')[0] ?? '') : '';
  const within = (domain: string) => namespace === domain || namespace.endsWith(`.${domain}`);
  if (!within('kubernetes.io') && !within('k8s.io')) return true;
  return ownLabels.has(key) || within('kubelet.kubernetes.io') || within('node.kubernetes.io');
}

function readTaints(values: readonly string[], refuse: Refuse): Taint[] {
  return listed(values).flatMap((text) => {
    const match = /^([^=:]+)(?:=([^:]*))?:([^:]+)$/.exec(text);
    const read = match && taint.read({ key: match[1], value: match[2] ?? '', effect: match[3] }, [], () => {});
    if (read) return [read];
    refuse(
      'register-with-taints',
      `"${text}" is not a taint`,
      'write key=value:NoSchedule, key:PreferNoSchedule or key=value:NoExecute',
    );
    return [];
  });
}
