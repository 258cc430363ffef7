import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type EtcHostsInput, generateEtcHosts } from './etc-hosts.ts';

const base: EtcHostsInput = {
  hostNetwork: false,
  hostFile: '127.0.0.1 localhost\n192.0.2.2 node-1\n',
  podIPs: ['10.1.0.7'],
  hostname: 'web',
  domain: '',
  hostAliases: [],
};

const local = [
  '# Kubernetes-managed hosts file.',
  '127.0.0.1\tlocalhost',
  '::1\tlocalhost ip6-localhost ip6-loopback',
  'fe00::0\tip6-localnet',
  'fe00::0\tip6-mcastprefix',
  'fe00::1\tip6-allnodes',
  'fe00::2\tip6-allrouters',
];

const cases: Record<string, { change: Partial<EtcHostsInput>; expected: readonly string[] }> = {
  'a pod has its own name': { change: {}, expected: [...local, '10.1.0.7\tweb', ''] },
  'each address of a dual-stack pod has a line': {
    change: { podIPs: ['10.1.0.7', 'fd00::7'] },
    expected: [...local, '10.1.0.7\tweb', 'fd00::7\tweb', ''],
  },
  'a subdomain gives the full name first': {
    change: { domain: 'sub.ns.svc.cluster.local' },
    expected: [...local, '10.1.0.7\tweb.sub.ns.svc.cluster.local\tweb', ''],
  },
  'aliases come last, under a heading': {
    change: {
      hostAliases: [
        { ip: '1.2.3.4', hostnames: ['a', 'b'] },
        { ip: '5.6.7.8', hostnames: ['c'] },
      ],
    },
    expected: [...local, '10.1.0.7\tweb', '', '# Entries added by HostAliases.', '1.2.3.4\ta\tb', '5.6.7.8\tc', ''],
  },
  "a host-network pod has the host's file": {
    change: { hostNetwork: true },
    expected: ['# Kubernetes-managed hosts file (host network).', '127.0.0.1 localhost', '192.0.2.2 node-1', ''],
  },
  'a host-network pod has its aliases too': {
    change: { hostNetwork: true, hostAliases: [{ ip: '1.2.3.4', hostnames: ['a'] }] },
    expected: [
      '# Kubernetes-managed hosts file (host network).',
      '127.0.0.1 localhost',
      '192.0.2.2 node-1',
      '',
      '# Entries added by HostAliases.',
      '1.2.3.4\ta',
      '',
    ],
  },
};

for (const [sentence, { change, expected }] of Object.entries(cases)) {
  test(sentence, () => assert.equal(generateEtcHosts({ ...base, ...change }), expected.join('\n')));
}
