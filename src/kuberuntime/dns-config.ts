import { isIPv6 } from 'node:net';
import type { Pod, PodDNSConfig } from '../api/core-v1.ts';
import type { DNSConfig } from '../api/cri.ts';

/** What the node knows about DNS. */
export interface NodeDnsFacts {
  readonly clusterDNS: readonly string[];
  /** '' where the cluster has none. */
  readonly clusterDomain: string;
  /** The parsed file that `resolvConf` names; undefined when it is configured as '', which turns name resolution off. */
  readonly host: ResolvConf | undefined;
  readonly nodeIPs: readonly string[];
}

export interface ResolvConf {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

/** What somebody should hear of in an event. */
export interface DnsWarning {
  /** Whose event it is: the pod's owner hears of it, or who runs the node. */
  readonly about: 'pod' | 'node';
  readonly reason: 'MissingClusterDNS' | 'DNSConfigForming' | 'CheckLimitsForResolvConf';
  readonly message: string;
}

// Limits of the core/v1 API (and of glibc): servers, search domains, characters of the search line, of one domain.
const maxServers = 3;
const maxSearches = 32;
const maxSearchLine = 2048;
const maxDomain = 253;

/** The resolv.conf that the runtime shall write for the pod, and what had to be left out of it. */
export function generateDnsConfig(
  pod: Pod,
  node: NodeDnsFacts,
): { readonly config: DNSConfig; readonly warnings: readonly DnsWarning[] } {
  const warnings: DnsWarning[] = [];
  const base = computeBase(pod, node, warnings);
  const merged = pod.spec.dnsConfig ? mergeDnsConfig(base, pod.spec.dnsConfig) : base;
  const fitted = fitLimits(merged, warnings);
  const config: DNSConfig = {
    ...(fitted.servers.length > 0 ? { servers: fitted.servers } : {}),
    ...(fitted.searches.length > 0 ? { searches: fitted.searches } : {}),
    ...(fitted.options.length > 0 ? { options: fitted.options } : {}),
  };
  return { config, warnings };
}

function computeBase(pod: Pod, node: NodeDnsFacts, warnings: DnsWarning[]): ResolvConf {
  const policy = pod.spec.dnsPolicy ?? 'ClusterFirst';
  if (policy === 'None') return { servers: [], searches: [], options: [] };
  const wantsCluster =
    policy === 'ClusterFirstWithHostNet' || (policy === 'ClusterFirst' && pod.spec.hostNetwork !== true);
  if (wantsCluster && node.clusterDNS.length > 0) {
    return {
      servers: node.clusterDNS,
      searches: clusterSearches(pod.metadata.namespace ?? 'default', node),
      options: ['ndots:5'],
    };
  }
  if (wantsCluster) {
    // Upstream's words, which name this policy whichever of the two was asked for.
    const text =
      'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.';
    const { name, namespace = 'default', uid = '' } = pod.metadata;
    const reason = 'MissingClusterDNS';
    warnings.push({ about: 'node', reason, message: text });
    warnings.push({ about: 'pod', reason, message: `pod: "${name}_${namespace}(${uid})". ${text}` });
  }
  return node.host ?? withoutResolver(node.nodeIPs);
}

function clusterSearches(namespace: string, node: NodeDnsFacts): readonly string[] {
  const { clusterDomain } = node;
  const cluster =
    clusterDomain === '' ? [] : [`${namespace}.svc.${clusterDomain}`, `svc.${clusterDomain}`, clusterDomain];
  return unique([...cluster, ...(node.host?.searches ?? [])]);
}

/** An empty `resolvConf` setting: queries go to the pod itself, where nobody answers. */
function withoutResolver(nodeIPs: readonly string[]): ResolvConf {
  const servers = nodeIPs.length === 0 ? ['127.0.0.1'] : nodeIPs.map((ip) => (isIPv6(ip) ? '::1' : '127.0.0.1'));
  return { servers, searches: ['.'], options: [] };
}

function mergeDnsConfig(base: ResolvConf, extra: PodDNSConfig): ResolvConf {
  const options = new Map<string, string>();
  for (const option of base.options) options.set(option.split(':')[0] ?? option, option);
  for (const { name, value } of extra.options ?? []) {
    if (name) options.set(name, value === undefined || value === '' ? name : `${name}:${value}`);
  }
  return {
    servers: unique([...base.servers, ...(extra.nameservers ?? [])]),
    searches: unique([...base.searches, ...(extra.searches ?? [])]),
    options: [...options.values()],
  };
}

function fitLimits(config: ResolvConf, warnings: DnsWarning[]): ResolvConf {
  const servers = config.servers.slice(0, maxServers);
  if (servers.length < config.servers.length) {
    warnings.push({
      about: 'pod',
      reason: 'DNSConfigForming',
      message: `Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: ${servers.join(' ')}`,
    });
  }
  const searches = config.searches.slice(0, maxSearches).filter((domain) => domain.length <= maxDomain);
  while (searches.join(' ').length > maxSearchLine) searches.pop();
  if (searches.length < config.searches.length) {
    warnings.push({
      about: 'pod',
      reason: 'DNSConfigForming',
      message: `Search Line limits were exceeded, some search paths have been omitted, the applied search line is: ${searches.join(' ')}`,
    });
  }
  return { servers, searches, options: config.options };
}

/**
 * Whether every pod that uses the host's search domains would lose some of them: said of the node, once,
 * because it is the host's file that should change. `path` is where the file lies.
 */
export function checkHostLimits(host: ResolvConf, path: string, clusterDomain: string): DnsWarning | undefined {
  const warn = (message: string): DnsWarning => ({ about: 'node', reason: 'CheckLimitsForResolvConf', message });
  // Three of a pod's domains are the cluster's.
  const limit = clusterDomain === '' ? maxSearches : maxSearches - 3;
  if (host.searches.length > limit) {
    return warn(`Resolv.conf file '${path}' contains search line consisting of more than ${limit} domains!`);
  }
  if (host.searches.some((domain) => domain.length > maxDomain)) {
    return warn(
      `Resolv.conf file "${path}" contains a search path which length is more than allowed ${maxDomain} chars!`,
    );
  }
  if (host.searches.join(' ').length > maxSearchLine) {
    return warn(
      `Resolv.conf file '${path}' contains search line which length is more than allowed ${maxSearchLine} chars!`,
    );
  }
  return undefined;
}

/** Reads a resolv.conf as resolv.conf(5) describes it: the last `search` wins, options add up, a `domain` is not used. */
export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  const options: string[] = [];
  let searches: readonly string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, ...values] = line.trim().split(/\s+/);
    if (keyword === 'nameserver' && values[0] !== undefined) servers.push(values[0]);
    else if (keyword === 'search')
      searches = values.map((domain) => (domain === '.' ? domain : domain.replace(/\.$/, '')));
    else if (keyword === 'options') options.push(...values);
  }
  return { servers, searches, options: unique(options) };
}

const unique = (values: readonly string[]): readonly string[] => [...new Set(values)];
