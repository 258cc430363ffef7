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

/** Or the beginning of one. It stands in rules as it is, so what means something there is left out: `*`, `+`, quotes. */
const interfaceName = text('the name of a network interface, or empty', (value) => /^[\w.@-]{0,15}$/.test(value));

/** All of Linux. One that this kernel has no module for is found out when the mode is chosen. */
const scheduler = oneOf(
  ...(['', 'rr', 'wrr', 'lc', 'wlc', 'fo', 'ovf', 'lblc', 'lblcr', 'dh', 'sh', 'mh', 'sed', 'nq', 'twos'] as const),
);

/**
 * Every key of KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) in Kubernetes 1.36, in upstream's order.
 * `minSyncPeriod` is 0 where it is not set, upstream's default is 1s: a sync costs little here, and a change should not
 * wait for the one before it.
 */
export const proxyKeys = {
  featureGates: key(map(boolean), {}, 'later'),
  clientConnection: clientConnectionKeys,
  logging: loggingKeys('later'),
  hostnameOverride: key(string, '', 'now'),
  bindAddress: key(ip, '0.0.0.0', 'now'),
  healthzBindAddress: key(ipPort, '0.0.0.0:10256', 'now'),
  metricsBindAddress: key(ipPort, '127.0.0.1:10249', 'now'),
  bindAddressHardFail: key(boolean, false, 'now'),
  enableProfiling: key(boolean, false, 'now'),
  /** Nothing is hidden here: whatever it says is fulfilled. */
  showHiddenMetricsForVersion: key(string, '', 'now'),
  /** `userspace` is ours beside upstream's; '' chooses what the kernel has. */
  mode: key(oneOf('', 'iptables', 'ipvs', 'nftables', 'userspace'), '', 'now'),
  iptables: {
    masqueradeBit: pointer(bit, 14, 'now'),
    masqueradeAll: key(boolean, false, 'now'),
    localhostNodePorts: pointer(boolean, true, 'now'),
    syncPeriod: key(positive, 30 * second, 'now'),
    minSyncPeriod: key(duration(), 0, 'now'),
  },
  ipvs: {
    syncPeriod: key(positive, 30 * second, 'now'),
    minSyncPeriod: key(duration(), 0, 'now'),
    scheduler: key(scheduler, '', 'now'),
    excludeCIDRs: key(list(range), noStrings, 'now'),
    strictARP: key(boolean, false, 'now'),
    tcpTimeout: key(duration(), 0, 'now'),
    tcpFinTimeout: key(duration(), 0, 'now'),
    udpTimeout: key(duration(), 0, 'now'),
  },
  nftables: {
    masqueradeBit: pointer(bit, 14, 'now'),
    masqueradeAll: key(boolean, false, 'now'),
    syncPeriod: key(positive, 30 * second, 'now'),
    minSyncPeriod: key(duration(), 0, 'now'),
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
  detectLocal: { bridgeInterface: key(interfaceName, '', 'now'), interfaceNamePrefix: key(interfaceName, '', 'now') },
  clusterCIDR: key(cidrs, '', 'now'),
  nodePortAddresses: key(list(nodePortRange), noStrings, 'now'),
  oomScoreAdj: pointer(oomScore, -999, 'now'),
  conntrack: {
    maxPerCore: pointer(count, 32_768, 'now'),
    min: pointer(count, 131_072, 'now'),
    tcpEstablishedTimeout: pointer(duration(), 24 * hour, 'now'),
    tcpCloseWaitTimeout: pointer(duration(), hour, 'now'),
    tcpBeLiberal: key(boolean, false, 'now'),
    udpTimeout: key(duration(), 0, 'now'),
    udpStreamTimeout: key(duration(), 0, 'now'),
  },
  configSyncPeriod: key(positive, 15 * minute, 'now'),
  portRange: key(string, '', 'later'),
  windowsRunAsService: key(boolean, false, 'later'),
} as const;
