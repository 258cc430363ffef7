import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Service } from '../api/core-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { IpFamily } from './read-service.ts';
import { readService } from './read-service.ts';

/** What may stand in a Service without being of any use: it is named, and costs nothing else. */

const metadata = { name: 'web', namespace: 'd' };
const good = { clusterIP: '10.96.0.1', ports: [{ name: 'web', port: 80 }] };

/** As it comes from the wire, where types mean nothing. */
const read = (object: unknown, family: IpFamily = 'IPv4') =>
  readService(deepFreeze(JSON.parse(JSON.stringify(object))) as Service, family);

interface Case {
  readonly spec?: object;
  readonly status?: object;
  readonly family?: IpFamily;
  /** Exactly these. */
  readonly problems: readonly string[];
  /** What is read all the same; by default the one port at the one address. */
  readonly reads?: object | undefined;
}

const asGood = { clusterIps: ['10.96.0.1'], ports: [{ name: 'web', protocol: 'TCP', port: 80, nodePort: undefined }] };

const cases: Record<string, Case> = {
  'nothing wrong': { problems: [] },
  'null for all that may be absent': {
    spec: { type: null, externalIPs: null, sessionAffinity: null, externalTrafficPolicy: null, clusterIPs: null },
    status: { loadBalancer: { ingress: null } },
    problems: [],
  },
  'addresses that mean something else on every host': {
    spec: {
      externalIPs: [
        ...['0.0.0.0', '127.0.0.1', '224.0.0.1', '255.255.255.255', '169.254.169.254'],
        ...['::', '::1', 'fe80::1', 'ff02::1', '::ffff:1.2.3.4', '2001:db8::1%eth0', '198.51.100.1'],
      ],
    },
    problems: [
      'spec.externalIPs "0.0.0.0" stands for no address',
      'spec.externalIPs "127.0.0.1" is a loopback address',
      'spec.externalIPs "224.0.0.1" is a multicast address',
      'spec.externalIPs "255.255.255.255" is the broadcast address',
      'spec.externalIPs "169.254.169.254" is a link-local address',
      'spec.externalIPs "::" stands for no address',
      'spec.externalIPs "::1" is a loopback address',
      'spec.externalIPs "fe80::1" is a link-local address',
      'spec.externalIPs "ff02::1" is a multicast address',
      'spec.externalIPs "::ffff:1.2.3.4" is an IPv4 address written as IPv6',
      'spec.externalIPs "2001:db8::1%eth0" has a zone, which means nothing on other hosts',
    ],
    reads: { externalIps: ['198.51.100.1'] },
  },
  'a balancer at a loopback address, and one that is none': {
    status: {
      loadBalancer: { ingress: [{ ip: '127.0.0.1' }, { ip: 7 }, 'x', { hostname: 'h' }, { ip: '192.0.2.9' }] },
    },
    problems: [
      'status.loadBalancer.ingress[2] "x" is not an object',
      'status.loadBalancer.ingress "127.0.0.1" is a loopback address',
      'status.loadBalancer.ingress 7 is not an IP address',
    ],
    reads: { loadBalancerIps: ['192.0.2.9'] },
  },
  'a virtual address that is the host’s own': {
    spec: { clusterIP: '127.0.0.1' },
    problems: ['spec.clusterIP "127.0.0.1" is a loopback address'],
    reads: undefined,
  },
  'a virtual address outside all ranges is one': { spec: { clusterIP: '203.0.113.7' }, problems: [], reads: {} },
  'a link-local range is a choice': { spec: { clusterIP: '169.254.7.7' }, problems: [], reads: {} },
  'addresses that are none': {
    spec: { clusterIPs: ['10.96.0.1', '010.96.0.1', '', 'abc', '10.0.0.1/8', 10, null] },
    problems: [
      'spec.clusterIP "010.96.0.1" is not an IP address',
      'spec.clusterIP "abc" is not an IP address',
      'spec.clusterIP "10.0.0.1/8" is not an IP address',
      'spec.clusterIP 10 is not an IP address',
      'spec.clusterIP null is not an IP address',
    ],
  },
  'the same address twice': { spec: { clusterIPs: ['10.96.0.1', '10.96.0.1'] }, problems: [] },
  'ports that are none': {
    spec: { ports: [0, 65_536, -1, 1.5, '80', null, {}, true].map((port) => ({ port })).concat(good.ports) },
    problems: [
      ...['0', '65536', '-1', '1.5', '"80"', 'null', '{}', 'true'].map(
        (port, i) => `spec.ports[${i}].port ${port} is not a port number`,
      ),
    ],
  },
  'node ports that are none': {
    spec: {
      ports: [
        { name: 'web', port: 80, nodePort: '30080' },
        { port: 81, nodePort: 70_000 },
        { port: 82, nodePort: 0 },
      ],
    },
    problems: [
      'spec.ports[0].nodePort "30080" is not a port number',
      'spec.ports[1].nodePort 70000 is not a port number',
    ],
    reads: {
      ports: [80, 81, 82].map((port, i) => ({
        name: i === 0 ? 'web' : '',
        protocol: 'TCP',
        port,
        nodePort: undefined,
      })),
    },
  },
  'a protocol that nobody knows': {
    spec: { ports: [{ port: 443, protocol: 'QUIC' }, { port: 81, protocol: 'tcp' }, ...good.ports] },
    problems: [
      'spec.ports[0].protocol "QUIC" is none of TCP, UDP, SCTP',
      'spec.ports[1].protocol "tcp" is none of TCP, UDP, SCTP',
    ],
  },
  'a port twice, and a node port twice': {
    spec: {
      ports: [
        { name: 'web', port: 80, nodePort: 30_080 },
        { name: 'again', port: 80 },
        { name: 'other', port: 81, nodePort: 30_080 },
        { name: 'dns', port: 80, nodePort: 30_080, protocol: 'UDP' },
      ],
    },
    problems: [
      'spec.ports[1].port "TCP 80" is taken by spec.ports[0].port',
      'spec.ports[2].nodePort "TCP *:30080" is taken by spec.ports[0].nodePort',
    ],
    reads: {
      ports: [
        { name: 'web', protocol: 'TCP', port: 80, nodePort: 30_080 },
        { name: 'other', protocol: 'TCP', port: 81, nodePort: undefined },
        { name: 'dns', protocol: 'UDP', port: 80, nodePort: 30_080 },
      ],
    },
  },
  'ports that are no list': {
    spec: { ports: 'many' },
    problems: ['spec.ports "many" is not a list'],
    reads: { ports: [] },
  },
  'ports that are nothing': {
    spec: { ports: [null, 80, []] },
    problems: ['spec.ports[1] 80 is not an object', 'spec.ports[2] [] is not an object'],
    reads: { ports: [] },
  },
  'a name that is none': {
    spec: { ports: [{ name: 7, port: 80 }] },
    problems: ['spec.ports[0].name 7 is not a text'],
    reads: { ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: undefined }] },
  },
  'policies that nobody knows get the default': {
    spec: { externalTrafficPolicy: 'Bogus', internalTrafficPolicy: 'local', sessionAffinity: 'Foo' },
    problems: [
      'spec.externalTrafficPolicy "Bogus" is none of Cluster, Local',
      'spec.internalTrafficPolicy "local" is none of Cluster, Local',
      'spec.sessionAffinity "Foo" is none of None, ClientIP',
    ],
    reads: { externalTrafficPolicy: 'Cluster', internalTrafficPolicy: 'Cluster', affinitySeconds: undefined },
  },
  ...Object.fromEntries(
    [0, -1, 1e9, 1.5, '60'].map((timeoutSeconds) => [
      `an affinity of ${JSON.stringify(timeoutSeconds)} s`,
      {
        spec: { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds } } },
        problems: [
          `spec.sessionAffinityConfig.clientIP.timeoutSeconds ${JSON.stringify(timeoutSeconds)} is not from 1 to 86400`,
        ],
        reads: { affinitySeconds: 10_800 },
      },
    ]),
  ),
  'an affinity without a configuration': {
    spec: { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: null } },
    problems: [],
    reads: { affinitySeconds: 10_800 },
  },
  'one source range that cannot be read': {
    spec: { loadBalancerSourceRanges: ['10.0.0.0/8', '10.0.0.0/33', 'all', 9] },
    problems: [
      'spec.loadBalancerSourceRanges[3] 9 is not a text',
      'spec.loadBalancerSourceRanges "10.0.0.0/33" is not a range such as 10.0.0.0/8',
      'spec.loadBalancerSourceRanges "all" is not a range such as 10.0.0.0/8',
    ],
    reads: { sourceRanges: ['10.0.0.0/8'] },
  },
  'no source range that can be read keeps everybody out': {
    spec: { loadBalancerSourceRanges: ['10.0.0.0'] },
    problems: ['spec.loadBalancerSourceRanges "10.0.0.0" is not a range such as 10.0.0.0/8'],
    reads: { sourceRanges: [] },
  },
  'source ranges of the other family keep nobody out': {
    spec: { loadBalancerSourceRanges: ['fd00::/8'] },
    problems: [],
    reads: { sourceRanges: undefined },
  },
  'a health check without a balancer that asks': {
    spec: { type: 'NodePort', externalTrafficPolicy: 'Local', healthCheckNodePort: 31_000 },
    problems: [],
    reads: { healthCheckNodePort: undefined },
  },
  'a health check at no port': {
    spec: { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 99_999 },
    problems: ['spec.healthCheckNodePort 99999 is not a port number'],
    reads: { healthCheckNodePort: undefined },
  },
  'what is wrong in thousands of places is named in some': {
    spec: { externalIPs: Array.from({ length: 5_000 }, (_, i) => `x${i}`) },
    problems: Array.from({ length: 20 }, (_, i) => `spec.externalIPs "x${i}" is not an IP address`),
  },
  'a value of any length is shown in part': {
    spec: { externalIPs: ['x'.repeat(1_000)] },
    problems: [`spec.externalIPs "${'x'.repeat(59)}… is not an IP address`],
  },
};

for (const [sentence, { spec, status, family, problems, reads = asGood }] of Object.entries(cases)) {
  test(sentence, () => {
    const found = read({ metadata, spec: { ...good, ...spec }, status }, family);
    assert.deepEqual(found.problems, problems);
    if ('reads' in (cases[sentence] ?? {}) && cases[sentence]?.reads === undefined)
      assert.equal(found.service, undefined);
    else assert.partialDeepStrictEqual(found.service, reads);
  });
}

const shapes: Record<string, readonly [object: object, problems: readonly string[]]> = {
  'no metadata': [{ spec: good }, ['metadata.name is absent and is no name']],
  'metadata that is none': [
    { metadata: 'x', spec: good },
    ['metadata "x" is not an object', 'metadata.name is absent and is no name'],
  ],
  'an empty name': [{ metadata: { name: '' }, spec: good }, ['metadata.name "" is no name']],
  'no spec': [{ metadata }, ['spec is absent and is no specification']],
  'a spec that is null': [{ metadata, spec: null }, ['spec null is no specification']],
  'a spec that is a list': [{ metadata, spec: [] }, ['spec [] is not an object', 'spec [] is no specification']],
};
for (const [sentence, [object, problems]] of Object.entries(shapes)) {
  test(`${sentence}: nothing of it is used`, () => {
    assert.deepEqual(read(object), { service: undefined, problems });
  });
}

test('hundreds of ports are read', () => {
  const ports = Array.from({ length: 900 }, (_, i) => ({ name: `p${i}`, port: i + 1 }));
  assert.equal(read({ metadata, spec: { ...good, ports } }).service?.ports.length, 900);
});
