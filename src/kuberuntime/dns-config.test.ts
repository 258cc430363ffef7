import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Pod, PodSpec } from '../api/core-v1.ts';
import type { DNSConfig } from '../api/cri.ts';
import { checkHostLimits, generateDnsConfig, type NodeDnsFacts, parseResolvConf } from './dns-config.ts';

const node: NodeDnsFacts = {
  clusterDNS: ['10.96.0.10'],
  clusterDomain: 'cluster.local',
  host: { servers: ['10.255.255.53'], searches: ['corp.example'], options: ['timeout:1'] },
  nodeIPs: ['192.0.2.2'],
};
const cluster = {
  servers: ['10.96.0.10'],
  searches: ['ns.svc.cluster.local', 'svc.cluster.local', 'cluster.local', 'corp.example'],
  options: ['ndots:5'],
};
const podWith = (spec: Partial<PodSpec>): Pod => ({
  metadata: { name: 'p', namespace: 'ns' },
  spec: { containers: [], ...spec },
});

const cases: Record<
  string,
  { spec: Partial<PodSpec>; node?: Partial<NodeDnsFacts>; expected: DNSConfig; reasons?: string[] }
> = {
  'no policy is ClusterFirst': { spec: {}, expected: cluster },
  'ClusterFirst on the host network uses the host': {
    spec: { dnsPolicy: 'ClusterFirst', hostNetwork: true },
    expected: { ...node.host },
  },
  'ClusterFirstWithHostNet does not': {
    spec: { dnsPolicy: 'ClusterFirstWithHostNet', hostNetwork: true },
    expected: cluster,
  },
  'Default uses the host': { spec: { dnsPolicy: 'Default' }, expected: { ...node.host } },
  'without cluster DNS the host answers, and the owner is told': {
    spec: {},
    node: { clusterDNS: [] },
    expected: { ...node.host },
    reasons: ['node MissingClusterDNS', 'pod MissingClusterDNS'],
  },
  "without a cluster domain only the host's search domains are there": {
    spec: {},
    node: { clusterDomain: '' },
    expected: { ...cluster, searches: ['corp.example'] },
  },
  'resolvConf "" turns resolution off': {
    spec: { dnsPolicy: 'Default' },
    node: { host: undefined, nodeIPs: ['192.0.2.2', 'fd00::2'] },
    expected: { servers: ['127.0.0.1', '::1'], searches: ['.'] },
  },
  'None is only what dnsConfig says': {
    spec: { dnsPolicy: 'None', dnsConfig: { nameservers: ['1.1.1.1'], options: [{ name: 'edns0' }] } },
    expected: { servers: ['1.1.1.1'], options: ['edns0'] },
  },
  'dnsConfig is added, duplicates once, its options win': {
    spec: {
      dnsConfig: {
        nameservers: ['10.96.0.10', '9.9.9.9'],
        searches: ['cluster.local', 'mine.example'],
        options: [{ name: 'ndots', value: '2' }, { name: 'rotate' }],
      },
    },
    expected: {
      servers: ['10.96.0.10', '9.9.9.9'],
      searches: [...cluster.searches, 'mine.example'],
      options: ['ndots:2', 'rotate'],
    },
  },
  'a fourth server is left out and said': {
    spec: { dnsPolicy: 'None', dnsConfig: { nameservers: ['1.0.0.1', '1.0.0.2', '1.0.0.3', '1.0.0.4'] } },
    expected: { servers: ['1.0.0.1', '1.0.0.2', '1.0.0.3'] },
    reasons: ['pod DNSConfigForming'],
  },
  'a 33rd search domain is left out and said': {
    spec: { dnsPolicy: 'None', dnsConfig: { searches: Array.from({ length: 33 }, (_, i) => `d${i}`) } },
    expected: { searches: Array.from({ length: 32 }, (_, i) => `d${i}`) },
    reasons: ['pod DNSConfigForming'],
  },
  'a search line over 2048 characters is cut at a domain': {
    spec: {
      dnsPolicy: 'None',
      dnsConfig: { searches: Array.from({ length: 10 }, (_, i) => `${i}${'x'.repeat(239)}`) },
    },
    expected: { searches: Array.from({ length: 8 }, (_, i) => `${i}${'x'.repeat(239)}`) },
    reasons: ['pod DNSConfigForming'],
  },
  'a search domain that no resolver takes is left out': {
    spec: { dnsPolicy: 'None', dnsConfig: { searches: ['y'.repeat(254), 'ok'] } },
    expected: { searches: ['ok'] },
    reasons: ['pod DNSConfigForming'],
  },
};

for (const [sentence, { spec, node: change, expected, reasons }] of Object.entries(cases)) {
  test(sentence, () => {
    const { config, warnings } = generateDnsConfig(podWith(spec), { ...node, ...change });
    assert.deepEqual(config, expected);
    assert.deepEqual(
      warnings.map(({ about, reason }) => `${about} ${reason}`),
      reasons ?? [],
    );
  });
}

test('resolv.conf: comments, the last search, trailing dots, options of several lines', () => {
  const text =
    '# nameserver 9.9.9.9\n;x\n nameserver  10.0.0.1 \nnameserver\nnameserver fe80::1%eth0\ndomain d\nsearch a b\nsearch c. . d\noptions ndots:2 rotate\noptions rotate edns0\n';
  assert.deepEqual(parseResolvConf(text), {
    servers: ['10.0.0.1', 'fe80::1%eth0'],
    searches: ['c', '.', 'd'],
    options: ['ndots:2', 'rotate', 'edns0'],
  });
});

test("a node without cluster DNS says so in upstream's words", () => {
  const text =
    'kubelet does not have ClusterDNS IP configured and cannot create Pod using "ClusterFirst" policy. Falling back to "Default" policy.';
  const { warnings } = generateDnsConfig(podWith({}), { ...node, clusterDNS: [] });
  assert.deepEqual(
    warnings.map((w) => w.message),
    [text, `pod: "p_ns()". ${text}`],
  );
});

const limits: Record<string, { searches: readonly string[]; clusterDomain?: string; expected: string | undefined }> = {
  'a few domains of the host are fine': { searches: ['a', 'b'], expected: undefined },
  '29 leave room for those of the cluster': { searches: Array(29).fill('a'), expected: undefined },
  '30 do not': {
    searches: Array(30).fill('a'),
    expected: "Resolv.conf file '/r' contains search line consisting of more than 29 domains!",
  },
  'a cluster without a domain needs no room': { searches: Array(32).fill('a'), clusterDomain: '', expected: undefined },
  'a domain that no resolver takes': {
    searches: ['a'.repeat(254)],
    expected: 'Resolv.conf file "/r" contains a search path which length is more than allowed 253 chars!',
  },
  'a line that no resolver takes': {
    searches: Array(9).fill('a'.repeat(250)),
    expected: "Resolv.conf file '/r' contains search line which length is more than allowed 2048 chars!",
  },
};
for (const [sentence, { searches, clusterDomain = 'cluster.local', expected }] of Object.entries(limits)) {
  test(`the host's resolv.conf: ${sentence}`, () => {
    const host = { servers: [], searches, options: [] };
    assert.equal(checkHostLimits(host, '/r', clusterDomain)?.message, expected);
  });
}

const goldenNode: NodeDnsFacts = {
  clusterDNS: ['10.96.0.10'],
  clusterDomain: 'cluster.local',
  host: parseResolvConf('nameserver 10.255.255.53\n'),
  nodeIPs: ['192.0.2.2'],
};
const folder = new URL('../../test/golden/pods/', import.meta.url);
for (const file of readdirSync(folder)) {
  test(`the DNS of ${file}`, () => {
    const golden = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as {
      pod: Pod;
      sandbox: { dns_config: DNSConfig };
    };
    assert.deepEqual(generateDnsConfig(golden.pod, goldenNode).config, golden.sandbox.dns_config);
  });
}
