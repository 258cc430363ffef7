import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import type { IpFamily } from './read-service.ts';
import { readSlice } from './read-slice.ts';

const metadata = { name: 'web-1', namespace: 'd', labels: { [serviceNameLabel]: 'web' } };
const endpoint = { addresses: ['10.244.0.1'] };
const good = { metadata, addressType: 'IPv4', endpoints: [endpoint], ports: [{ port: 8080 }] };

const read = (slice: object, family: IpFamily = 'IPv4') =>
  readSlice(deepFreeze(JSON.parse(JSON.stringify(slice))) as EndpointSlice, family);

interface Case {
  readonly slice: object;
  readonly family?: IpFamily;
  readonly problems: readonly string[];
  /** By default the one endpoint at the one port. */
  readonly reads?: object;
}

const asGood = {
  serviceKey: 'd/web',
  ports: [{ name: '', protocol: 'TCP', port: 8080 }],
  endpoints: [{ ip: '10.244.0.1', ready: true, serving: true, terminating: false }],
};
const unreadable = [
  '',
  'abc',
  '10.0.0.1/8',
  '010.1.1.1',
  '::ffff:1.2.3.4',
  '0.0.0.0',
  '127.0.0.1',
  '169.254.1.1',
  'fd00::1',
];

const cases: Record<string, Case> = {
  'nothing wrong': { slice: {}, problems: [] },
  'an endpoint that is a pod': {
    slice: { endpoints: [{ ...endpoint, targetRef: { kind: 'Pod', namespace: 'd', name: 'web-0', uid: 'u' } }] },
    reads: { ...asGood, endpoints: [{ ...asGood.endpoints[0], podUid: 'u' }] },
    problems: [],
  },
  'an endpoint that is something else': {
    slice: { endpoints: [{ ...endpoint, targetRef: { kind: 'Node', name: 'n', uid: 'u' } }] },
    problems: [],
  },
  'addresses that nobody can be led to': {
    slice: { endpoints: [...unreadable.map((ip) => ({ addresses: [ip] })), endpoint] },
    problems: [
      'endpoints[0].addresses[0] "" is not an IP address',
      'endpoints[1].addresses[0] "abc" is not an IP address',
      'endpoints[2].addresses[0] "10.0.0.1/8" is not an IP address',
      'endpoints[3].addresses[0] "010.1.1.1" is not an IP address',
      'endpoints[4].addresses[0] "::ffff:1.2.3.4" is an IPv4 address written as IPv6',
      'endpoints[5].addresses[0] "0.0.0.0" stands for no address',
      'endpoints[6].addresses[0] "127.0.0.1" is a loopback address',
      'endpoints[7].addresses[0] "169.254.1.1" is a link-local address',
      'endpoints[8].addresses[0] "fd00::1" is not an IPv4 address',
    ],
  },
  'endpoints without an address': {
    slice: { endpoints: [{ addresses: [] }, {}, { addresses: null }, { addresses: 'x' }, null, 7, endpoint] },
    problems: [
      'endpoints[0].addresses[0] is absent and is not an IP address',
      'endpoints[1].addresses[0] is absent and is not an IP address',
      'endpoints[2].addresses[0] is absent and is not an IP address',
      'endpoints[3].addresses "x" is not a list',
      'endpoints[3].addresses[0] is absent and is not an IP address',
      'endpoints[5] 7 is not an object',
    ],
  },
  'no endpoints': { slice: { endpoints: null }, problems: [], reads: { ...asGood, endpoints: [] } },
  'endpoints that are no list': {
    slice: { endpoints: {} },
    problems: ['endpoints {} is not a list'],
    reads: { ...asGood, endpoints: [] },
  },
  'no ports': { slice: { ports: null }, problems: [], reads: { ...asGood, ports: [] } },
  'ports that are none': {
    slice: { ports: [{}, { port: 0 }, { port: '8080' }, { port: 1, protocol: 'QUIC' }, { name: 1, port: 8080 }] },
    problems: [
      'ports[0].port is absent and is not a port number',
      'ports[1].port 0 is not a port number',
      'ports[2].port "8080" is not a port number',
      'ports[3].protocol "QUIC" is none of TCP, UDP, SCTP',
      'ports[4].name 1 is not a text',
    ],
  },
  'conditions that say nothing count as absent': {
    slice: { endpoints: [{ ...endpoint, conditions: { ready: null, serving: 'yes', terminating: 0 } }] },
    problems: [
      'endpoints[0].conditions.serving "yes" is neither true nor false',
      'endpoints[0].conditions.terminating 0 is neither true nor false',
    ],
  },
  'conditions that are none': { slice: { endpoints: [{ ...endpoint, conditions: null }] }, problems: [] },
  'a node that is none': {
    slice: { endpoints: [{ ...endpoint, nodeName: 5 }] },
    problems: ['endpoints[0].nodeName 5 is not a text'],
  },
  'hints that nobody knows, and such as are none': {
    slice: {
      endpoints: [
        { ...endpoint, hints: { forPlanets: [{ name: 'x' }], forZones: [{}, { name: 1 }, 'a'], forNodes: 'here' } },
      ],
    },
    problems: [
      'endpoints[0].hints.forZones[1].name 1 is not a text',
      'endpoints[0].hints.forZones[2] "a" is not an object',
      'endpoints[0].hints.forNodes "here" is not a list',
    ],
  },
};
for (const [sentence, { slice, family, problems, reads = asGood }] of Object.entries(cases)) {
  test(sentence, () => {
    const found = read({ ...good, ...slice }, family);
    assert.deepEqual(found.problems, problems);
    assert.partialDeepStrictEqual(found.slice, reads);
  });
}

const others: Record<string, readonly [slice: object, problems: readonly string[]]> = {
  'of no Service': [{ metadata: { name: 'x' } }, []],
  'of the other family': [{ addressType: 'IPv6' }, []],
  'of names': [{ addressType: 'FQDN' }, []],
  'of a family that nobody knows': [{ addressType: 'IPv5' }, ['addressType "IPv5" is none of IPv4, IPv6, FQDN']],
  'without metadata': [{ metadata: null }, []],
  'with labels that are none': [{ metadata: { labels: 'x' } }, ['metadata.labels "x" is not an object']],
  'of a Service without a name': [
    { metadata: { labels: { [serviceNameLabel]: 3 } } },
    [`metadata.labels.${serviceNameLabel} 3 is not a text`],
  ],
};
for (const [sentence, [slice, problems]] of Object.entries(others)) {
  test(`a slice ${sentence} is none for this family`, () => {
    assert.deepEqual(read({ ...good, ...slice }), { slice: undefined, problems });
  });
}
