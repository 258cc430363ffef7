import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseGoDuration } from '../lib/go-duration.ts';
import { ConfigError, problemText } from './config-error.ts';
import { defaultsOf, keysOf } from './keys.ts';
import { kubeletKeys } from './kubelet-keys.ts';
import { loadConfig } from './load-config.ts';
import { noOptions, type RunOptions } from './run-options.ts';

const folder = mkdtempSync(join(tmpdir(), 'keelson-config-'));
after(() => rmSync(folder, { recursive: true }));

let files = 0;
function file(text: string): string {
  const path = join(folder, `${files++}.yaml`);
  writeFileSync(path, text);
  return path;
}

const kubelet = (keys: string) => `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n${keys}`;
const proxy = (keys: string) => `apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n${keys}`;
const keelson = (keys: string) => `apiVersion: keelson.io/v1alpha1\nkind: KeelsonConfiguration\n${keys}`;

/** A run in which the manifest directory is given, so that nothing but the files is talked about. */
const load = (text: string | string[], more: Partial<RunOptions> = {}) =>
  loadConfig({ ...noOptions, podManifestPath: '/m', config: [text].flat().map(file), ...more }, '/cwd');

/** The problems, without the folder of the test's files. */
function refusals(text: string | string[], more: Partial<RunOptions> = {}): string[] {
  files = 0;
  try {
    load(text, more);
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.problems.map((p) => problemText(p).replaceAll(`${folder}/`, ''));
  }
  return [];
}

const warnings = (text: string | string[], more: Partial<RunOptions> = {}) => {
  files = 0;
  return load(text, more).warnings.map((w) => problemText(w).replaceAll(`${folder}/`, ''));
};

test('defaults are those that kubelet 1.36 reports, where its environment did not set them', () => {
  const recorded = new URL('../../test/golden/node/configz.json', import.meta.url);
  const { kubeletconfig } = JSON.parse(readFileSync(recorded, 'utf8'));
  const setThere = [
    'address',
    'tlsCertFile',
    'tlsPrivateKeyFile',
    'authentication.x509.clientCAFile',
    'clusterDNS',
    'clusterDomain',
    'logging.verbosity',
    'failSwapOn',
    'failCgroupV1',
  ];
  const ours = defaultsOf(kubeletKeys);
  const compare = (theirs: unknown, mine: unknown, path: string): void => {
    if (setThere.includes(path)) return;
    if (typeof theirs === 'object' && theirs !== null && !Array.isArray(theirs)) {
      assert.ok(typeof mine === 'object' && mine !== null, path);
      for (const [key, value] of Object.entries(theirs)) {
        compare(value, (mine as Record<string, unknown>)[key], path ? `${path}.${key}` : key);
      }
    } else if (typeof mine === 'number' && typeof theirs === 'string') {
      assert.equal(mine, parseGoDuration(theirs), path);
    } else assert.deepEqual(mine, theirs, path);
  };
  const { kind: _kind, apiVersion: _apiVersion, ...theirs } = kubeletconfig;
  compare(theirs, ours, '');
  assert.equal(keysOf(kubeletKeys).length > 130, true);
});

test('without files there are the defaults, and with nothing to run a warning', () => {
  const { config, warnings } = loadConfig(noOptions, '/cwd');
  assert.equal(config.kubelet.imageServiceEndpoint, 'unix:///run/containerd/containerd.sock');
  assert.equal(config.proxy.nftables.syncPeriod, 30_000);
  assert.deepEqual(config.keelson, {
    network: { manage: 'Auto', cniConfDir: '/etc/cni/net.d', bridgeName: 'keelson0', mtu: 0 },
    admin: { socket: '/run/keelson/admin.sock' },
    services: { fallbackModes: ['nftables', 'iptables', 'userspace'] },
    log: { format: 'json' },
  });
  assert.deepEqual(config.flags, {
    nodeIps: [],
    rootDir: '/var/lib/kubelet',
    certDir: '/var/lib/kubelet/pki',
    nodeLabels: {},
    registerWithTaints: [],
    verbosity: 0,
  });
  assert.match(warnings.map(problemText).join(), /there is nothing to run/);
});

test('values are read, durations in milliseconds, from several documents and files', () => {
  const { config, warnings } = load([
    `${kubelet('syncFrequency: 1m30s\nclusterDNS: [10.96.0.10]\nlogging: {verbosity: 3}\n')}---\n${proxy('mode: nftables\nclientConnection: {kubeconfig: /etc/kp.conf}\n')}`,
    keelson('network: {manage: Never}\n'),
  ]);
  assert.equal(config.kubelet.syncFrequency, 90_000);
  assert.deepEqual(config.kubelet.clusterDNS, ['10.96.0.10']);
  assert.equal(config.flags.verbosity, 3);
  assert.equal(config.proxy.clientConnection.kubeconfig, '/etc/kp.conf');
  assert.equal(config.keelson.network.manage, 'Never');
  assert.deepEqual(warnings, []);
});

test('the config cannot be changed', () => {
  const { config } = load(kubelet('kubeReserved: {cpu: 100m}\n'));
  assert.throws(() => Object.assign(config.kubelet.kubeReserved, { cpu: '1' }), TypeError);
  assert.throws(() => Object.assign(config.proxy.nftables, { syncPeriod: 1 }), TypeError);
});

test('a zero stands for the default where upstream has no pointer, and counts where it has one', () => {
  const { config, warnings } = load(
    kubelet(
      'syncFrequency: 0s\nmaxPods: 0\nclusterDomain: ""\nenforceNodeAllocatable: []\nkubeAPIQPS: 0\nresolvConf: ""\ncpuManagerReconcilePeriod: 0s\nmemorySwap: {}\nauthentication: {x509: {}, webhook: {cacheTTL: 0s}}\nregisterNode: null\n',
    ),
  );
  assert.equal(config.kubelet.syncFrequency, 60_000);
  assert.equal(config.kubelet.maxPods, 110);
  assert.deepEqual(config.kubelet.enforceNodeAllocatable, []);
  assert.equal(config.kubelet.kubeAPIQPS, 0);
  assert.equal(config.kubelet.resolvConf, '');
  assert.equal(config.kubelet.registerNode, true);
  assert.deepEqual(warnings, []);
});

test('no mode to fall back to is a choice too', () => {
  const { config } = load([proxy('mode: userspace\n'), keelson('services: {fallbackModes: []}\n')]);
  assert.equal(config.proxy.mode, 'userspace');
  assert.deepEqual(config.keelson.services.fallbackModes, []);
});

test('defaults that hang on other keys', () => {
  assert.equal(load(kubelet('nodeStatusUpdateFrequency: 5s\n')).config.kubelet.nodeStatusReportFrequency, 5_000);
  assert.equal(load(kubelet('')).config.kubelet.nodeStatusReportFrequency, 300_000);
  const some = 'evictionHard: {memory.available: 1Gi}\n';
  assert.deepEqual(load(kubelet(some)).config.kubelet.evictionHard, { 'memory.available': '1Gi' });
  const merged = load(kubelet(`${some}mergeDefaultEvictionSettings: true\n`)).config.kubelet.evictionHard;
  assert.deepEqual([merged['memory.available'], merged['nodefs.available']], ['1Gi', '10%']);
  const relative = load(kubelet('staticPodPath: manifests\n'), { podManifestPath: '' }).config.kubelet;
  assert.equal(relative.staticPodPath, join(folder, 'manifests'));
  const places = (keys: string) => {
    const { healthzBindAddress, metricsBindAddress } = load(proxy(keys)).config.proxy;
    return [healthzBindAddress, metricsBindAddress];
  };
  assert.deepEqual(places('bindAddress: 192.0.2.1\n'), ['0.0.0.0:10256', '127.0.0.1:10249']);
  assert.deepEqual(places('bindAddress: "::"\n'), ['[::]:10256', '[::1]:10249']);
  assert.deepEqual(places('bindAddress: "::"\nmetricsBindAddress: 0.0.0.0:1\n'), ['[::]:10256', '0.0.0.0:1']);
});

test('flags win over files', () => {
  const text = kubelet(
    'staticPodPath: /a\ncontainerRuntimeEndpoint: unix:///a.sock\nlogging: {verbosity: 1}\nregisterWithTaints: [{key: a, effect: NoSchedule}]\n',
  );
  const { config } = load([text, proxy('mode: ipvs\n')], {
    podManifestPath: 'b',
    containerRuntimeEndpoint: '/b.sock',
    v: '4',
    registerWithTaints: ['k=v:NoSchedule,x:NoExecute'],
    proxyMode: 'nftables',
    kubeconfig: 'k.conf',
    rootDir: 'root',
    hostnameOverride: 'Node-1',
    nodeIp: ['192.0.2.1,2001:db8::1'],
    nodeLabels: ['a=b,c=', 'node.kubernetes.io/pool=x'],
  });
  assert.equal(config.kubelet.staticPodPath, '/cwd/b');
  assert.equal(config.kubelet.containerRuntimeEndpoint, 'unix:///b.sock');
  assert.equal(config.kubelet.imageServiceEndpoint, 'unix:///b.sock');
  assert.equal(config.kubelet.logging.verbosity, 4);
  assert.deepEqual(config.kubelet.registerWithTaints, config.flags.registerWithTaints);
  assert.equal(config.proxy.mode, 'nftables');
  assert.deepEqual(config.flags, {
    kubeconfig: '/cwd/k.conf',
    hostnameOverride: 'node-1',
    nodeIps: ['192.0.2.1', '2001:db8::1'],
    rootDir: '/cwd/root',
    certDir: '/cwd/root/pki',
    nodeLabels: { a: 'b', c: '', 'node.kubernetes.io/pool': 'x' },
    registerWithTaints: [
      { key: 'k', value: 'v', effect: 'NoSchedule' },
      { key: 'x', effect: 'NoExecute' },
    ],
    verbosity: 4,
  });
});

test('every problem of a file is named at once, with its place, what was expected, and what may be meant', () => {
  assert.deepEqual(
    refusals(
      kubelet(
        'clusterDns: [10.0.0.10]\nmaxPods: many\ncgroupDriver: sytemd\nsyncFrequency: 10\nclusterDNS:\n  - 10.0.0\nmaxContainerRestartPeriod: 10s\ncrashLoopBackOff: {maxContainerRestartPeriod: 10m}\nevictionHard: {memory.avail: 1Gi}\n',
      ),
    ),
    [
      '0.yaml:3:1: clusterDns: no such key (did you mean clusterDNS?)',
      '0.yaml:4:10: maxPods: "many" is not a whole number, 0 or more',
      '0.yaml:5:15: cgroupDriver: "sytemd" is not one of cgroupfs, systemd (did you mean systemd?)',
      '0.yaml:6:16: syncFrequency: 10 is not a duration above zero such as 10s',
      '0.yaml:8:5: clusterDNS[0]: "10.0.0" is not an IP address',
      '0.yaml:9:1: maxContainerRestartPeriod: no such key (did you mean crashLoopBackOff.maxContainerRestartPeriod?)',
      '0.yaml:10:47: crashLoopBackOff.maxContainerRestartPeriod: "10m" is not a duration from 1s to 5m',
      '0.yaml:11:16: evictionHard["memory.avail"]: "memory.avail" is not one of memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, containerfs.available, containerfs.inodesFree, allocatableMemory.available, pid.available (did you mean memory.available?)',
    ],
  );
});

test('refusals', () => {
  const table: Record<string, [string | string[], Partial<RunOptions>, RegExp[]]> = {
    'a tab': [
      kubelet('authentication:\n\tx509: {}\n'),
      {},
      [/^0\.yaml:4:1: a tab is used for indentation.*\(indent with spaces\)$/],
    ],
    'a key given twice': [
      kubelet('maxPods: 1\nmaxPods: 2\n'),
      {},
      [/^0\.yaml:4:1: the key "maxPods" is given twice, first in line 3$/],
    ],
    'broken syntax': [kubelet('clusterDNS: [a\n'), {}, [/^0\.yaml:\d+:\d+: /]],
    'an empty file': ['', {}, [/^0\.yaml: is empty \(it should hold documents of kind KubeletConfiguration/]],
    'not a map': ['- 1\n', {}, [/^0\.yaml:1:1: \[1\] is not a map/]],
    'an unknown kind': [
      'apiVersion: v1\nkind: KubletConfiguration\n',
      {},
      [/^0\.yaml:2:7: kind: .*did you mean KubeletConfiguration\?/],
    ],
    'another version': [
      'apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n',
      {},
      [/^0\.yaml:1:13: apiVersion: "kubelet.config.k8s.io\/v1" is not kubelet.config.k8s.io\/v1beta1/],
    ],
    'the same kind twice, in two files': [
      [kubelet(''), kubelet('')],
      {},
      [/^1\.yaml:1:1: kind: a second KubeletConfiguration; the first is at 0\.yaml:1/],
    ],
    'no cgroups per QoS, and pods enforced': [
      kubelet('cgroupsPerQOS: false\n'),
      {},
      [/^0\.yaml:\d+:\d+: enforceNodeAllocatable: .*needs cgroupsPerQOS/],
    ],
    'queries of logs that are not served': [
      kubelet('enableSystemLogHandler: false\nenableSystemLogQuery: true\n'),
      {},
      [/^0\.yaml:4:1: enableSystemLogQuery: needs enableSystemLogHandler/],
    ],
    'a certificate without its key': [
      kubelet('tlsCertFile: /a.crt\n'),
      {},
      [/^0\.yaml:3:1: tlsCertFile: needs tlsPrivateKeyFile/],
    ],
    'TLS settings that are none': [
      kubelet('tlsCipherSuites: [TLS_RSA_WITH_RC4_128_SHA]\ntlsMinVersion: "1.2"\ntlsCurvePreferences: [1]\n'),
      {},
      [
        /^0\.yaml:3:19: tlsCipherSuites\[0\]: "TLS_RSA_WITH_RC4_128_SHA" is not one of/,
        /^0\.yaml:4:16: tlsMinVersion: "1.2" is not one of VersionTLS10/,
        /^0\.yaml:5:23: tlsCurvePreferences\[0\]: 1 is not one of 23, 24/,
      ],
    ],
    'a proxy that waits longer between changes than between looks': [
      proxy('iptables: {minSyncPeriod: 1m}\n'),
      {},
      [/^0\.yaml:3:12: iptables\.minSyncPeriod: is longer than iptables\.syncPeriod/],
    ],
    'pods known by a bridge that is not named': [
      proxy('detectLocalMode: BridgeInterface\ndetectLocal: {interfaceNamePrefix: veth}\n'),
      {},
      [/^0\.yaml:3:1: detectLocalMode: BridgeInterface needs detectLocal\.bridgeInterface, which is empty \(set/],
    ],
    'interfaces that cannot be': [
      proxy('detectLocal: {bridgeInterface: "cni0 accept", interfaceNamePrefix: "veth*"}\n'),
      {},
      [/^0\.yaml:3:32: detectLocal\.bridgeInterface: "cni0 accept" is not the name/, /interfaceNamePrefix: "veth\*"/],
    ],
    'a scheduler of IPVS that there is not': [
      proxy('mode: ipvs\nipvs: {scheduler: wlcr}\n'),
      {},
      [/^0\.yaml:4:19: ipvs\.scheduler: "wlcr" is not one of "", rr, .*did you mean/],
    ],
    'a mode to fall back to that there is not': [
      keelson('services: {fallbackModes: [nft]}\n'),
      {},
      [/^0\.yaml:3:28: services\.fallbackModes\[0\]: "nft" is not one of nftables, iptables/],
    ],
    'serial pulls, and several at once': [
      kubelet('maxParallelImagePulls: 3\n'),
      {},
      [/^0\.yaml:3:1: maxParallelImagePulls: 3 pulls/],
    ],
    'two names for one node': [
      proxy('hostnameOverride: a\n'),
      { hostnameOverride: 'b' },
      [/^0\.yaml:3:1: hostnameOverride: "a" is not the node/],
    ],
    'an empty string for a number': [
      kubelet('maxPods: ""\n'),
      {},
      [/^0\.yaml:3:10: maxPods: "" is not a whole number/],
    ],
    'a file of both good and bad documents': [
      `${kubelet('x: 1\n')}---\n${proxy('mode: nftabels\n')}`,
      {},
      [/^0\.yaml:3:1: x: no such key$/, /^0\.yaml:7:7: mode: .*did you mean nftables\?/],
    ],
    flags: [
      kubelet(''),
      {
        v: 'x',
        nodeIp: ['10.0.0.1,10.0.0.2'],
        nodeLabels: ['a', 'kubernetes.io/role=x'],
        registerWithTaints: ['a=b'],
        hostnameOverride: 'a_b',
        proxyMode: 'iptable',
        rootDir: '',
      },
      [
        /^--root-dir: "" is not a folder/,
        /^--register-with-taints: "a=b" is not a taint/,
        /^--hostname-override: "a_b" cannot be/,
        /^--proxy-mode: "iptable" is not one of .*did you mean iptables/,
        /^--v: "x" is not a whole number/,
        /^--node-ip: .*more than one IPv4/,
        /^--node-labels: "a" is not a label/,
        /^--node-labels: a node may not set the label "kubernetes.io\/role"/,
      ],
    ],
  };
  for (const [sentence, [text, more, expected]] of Object.entries(table)) {
    const found = refusals(text, more);
    assert.equal(found.length, expected.length, `${sentence}: ${found.join('\n')}`);
    for (const [i, line] of found.entries()) assert.match(line, expected[i] ?? /^$/, sentence);
  }
});

test('a file that cannot be read is refused by name, beside the others', () => {
  assert.throws(() => loadConfig({ ...noOptions, config: ['/no/such', folder] }, '/'), {
    code: 'ConfigInvalid',
    message: `/no/such: there is no such file (check --config)\n${folder}: is a folder: name a file in it (check --config)`,
  });
});

test('what upstream has and keelson not yet is a warning, a group once', () => {
  assert.deepEqual(
    warnings([
      kubelet(
        'address: 0.0.0.0\ntracing: {endpoint: x, samplingRatePerMillion: 1}\nfailSwapOn: false\nlogging: {format: text, verbosity: 1}\nconfigMapAndSecretChangeDetectionStrategy: Cache\nenforceNodeAllocatable: [pods, kube-reserved]\n',
      ),
      proxy(
        'mode: iptables\niptables: {masqueradeAll: true}\nportRange: 1-2\nwinkernel: {enableDSR: true, sourceVip: x}\n',
      ),
    ]).map((line) => line.replace(/is valid in (\w+), but keelson does not support it yet: it has no effect/, '[$1]')),
    [
      '0.yaml:4:1: tracing: [KubeletConfiguration]',
      '0.yaml:5:1: failSwapOn: [KubeletConfiguration]',
      '0.yaml:6:11: logging.format: [KubeletConfiguration]',
      '1.yaml:5:1: portRange: [KubeProxyConfiguration]',
      '1.yaml:6:1: winkernel: [KubeProxyConfiguration]',
      '0.yaml:7:1: configMapAndSecretChangeDetectionStrategy: "Cache" is not supported yet, Watch is used',
      '0.yaml:8:1: enforceNodeAllocatable: kube-reserved not supported yet: what is reserved is kept from pods, but not enforced',
    ],
  );
});

test('the files that kubeadm writes are taken as they are', () => {
  const { config, warnings } = load([
    kubelet(`authentication:
  anonymous: {enabled: false}
  webhook: {cacheTTL: 0s, enabled: true}
  x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}
authorization:
  mode: Webhook
  webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
clusterDomain: cluster.local
containerRuntimeEndpoint: ""
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
logging:
  flushFrequency: 0
  options:
    json: {infoBufferSize: "0"}
    text: {infoBufferSize: "0"}
  verbosity: 0
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
`),
    proxy(`bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null, udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s, tcpTimeout: 0s, udpTimeout: 0s}
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
`),
  ]);
  assert.equal(config.kubelet.cgroupDriver, 'systemd');
  assert.equal(config.kubelet.runtimeRequestTimeout, 120_000);
  assert.equal(config.proxy.clusterCIDR, '10.244.0.0/16');
  assert.deepEqual(
    warnings.map((w) => w.path),
    ['rotateCertificates'],
  );
});
