import { boolean, list, map, oneOf, string, text } from '../lib/schema.ts';
import { key, pointer } from './keys.ts';
import { clientConnectionKeys, loggingKeys } from './shared-keys.ts';
import { bit, cidrFamily, cidrs, count, duration, ip, ipPort, oomScore, positive } from './values.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const noStrings: readonly string[] = [];

const range = text('a range such as 10.0.0.0/8', (value) => cidrFamily(value) !== 0);
const nodePortRange = text(
  'a range such as 10.0.0.0/8, primary, localhost or all',
  (value) => cidrFamily(value) !== 0 || ['primary', 'localhost', 'all'].includes(value),
);

/** Every key of KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) in Kubernetes 1.36, in upstream's order. */
export const proxyKeys = {
  featureGates: key(map(boolean), {}, 'later'),
  clientConnection: clientConnectionKeys,
  logging: loggingKeys('later'),
  hostnameOverride: key(string, '', 'now'),
  bindAddress: key(ip, '0.0.0.0', 'later'),
  healthzBindAddress: key(ipPort, '0.0.0.0:10256', 'now'),
  metricsBindAddress: key(ipPort, '127.0.0.1:10249', 'now'),
  bindAddressHardFail: key(boolean, false, 'later'),
  enableProfiling: key(boolean, false, 'later'),
  showHiddenMetricsForVersion: key(string, '', 'later'),
  mode: key(oneOf('', 'iptables', 'ipvs', 'nftables'), '', 'now'),
  iptables: {
    masqueradeBit: pointer(bit, 14, 'later'),
    masqueradeAll: key(boolean, false, 'later'),
    localhostNodePorts: pointer(boolean, true, 'now'),
    syncPeriod: key(positive, 30 * second, 'later'),
    minSyncPeriod: key(duration(), second, 'later'),
  },
  ipvs: {
    syncPeriod: key(positive, 30 * second, 'later'),
    minSyncPeriod: key(duration(), 0, 'later'),
    scheduler: key(string, '', 'later'),
    excludeCIDRs: key(list(range), noStrings, 'later'),
    strictARP: key(boolean, false, 'later'),
    tcpTimeout: key(duration(), 0, 'later'),
    tcpFinTimeout: key(duration(), 0, 'later'),
    udpTimeout: key(duration(), 0, 'later'),
  },
  nftables: {
    masqueradeBit: pointer(bit, 14, 'now'),
    masqueradeAll: key(boolean, false, 'now'),
    syncPeriod: key(positive, 30 * second, 'now'),
    minSyncPeriod: key(duration(), second, 'later'),
  },
  winkernel: {
    networkName: key(string, '', 'later'),
    sourceVip: key(string, '', 'later'),
    enableDSR: key(boolean, false, 'later'),
    rootHnsEndpointName: key(string, '', 'later'),
    forwardHealthCheckVip: key(boolean, false, 'later'),
  },
  detectLocalMode: key(
    oneOf('', 'ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'),
    'ClusterCIDR',
    'now',
  ),
  detectLocal: { bridgeInterface: key(string, '', 'now'), interfaceNamePrefix: key(string, '', 'now') },
  clusterCIDR: key(cidrs, '', 'now'),
  nodePortAddresses: key(list(nodePortRange), noStrings, 'now'),
  oomScoreAdj: pointer(oomScore, -999, 'later'),
  conntrack: {
    maxPerCore: pointer(count, 32_768, 'later'),
    min: pointer(count, 131_072, 'later'),
    tcpEstablishedTimeout: pointer(duration(), 24 * hour, 'later'),
    tcpCloseWaitTimeout: pointer(duration(), hour, 'later'),
    tcpBeLiberal: key(boolean, false, 'later'),
    udpTimeout: key(duration(), 0, 'later'),
    udpStreamTimeout: key(duration(), 0, 'later'),
  },
  configSyncPeriod: key(positive, 15 * minute, 'later'),
  portRange: key(string, '', 'later'),
  windowsRunAsService: key(boolean, false, 'later'),
} as const;
