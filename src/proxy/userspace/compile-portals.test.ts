import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TrafficRules } from '../backend.ts';
import type { Delivery, Route } from '../route-services.ts';
import { nodeAddress } from '../route-services.ts';
import { compilePortals, compileRoute, relayKey, relaysOf } from './compile-portals.ts';

const rules: TrafficRules = {
  ...{ family: 'IPv4', masqueradeAll: false, masqueradeBit: 14, local: { cidrs: ['10.244.0.0/16'] } },
  ...{ nodePortAddresses: [], localhostNodePorts: true },
};
const forward: Delivery = { verdict: 'forward', targets: [{ ip: '10.244.0.11', port: 8080, mayBeLocal: true }] };
const drop: Delivery = { verdict: 'drop', targets: [] };
const reject: Delivery = { verdict: 'reject', targets: [] };
const route: Route = {
  ...forward,
  frontend: { ip: '10.96.0.1', protocol: 'TCP', port: 80 },
  origin: { namespace: 'd', name: 'all', portName: 'web', kind: 'clusterIP' },
  ...{ masquerade: 'outsiders', outside: undefined, affinitySeconds: undefined, sources: undefined },
};
const balancer: Route = {
  ...route,
  frontend: { ip: '203.0.113.1', protocol: 'TCP', port: 80 },
  origin: { ...route.origin, kind: 'loadBalancer' },
};
const node: Route = {
  ...route,
  frontend: { ip: nodeAddress, protocol: 'UDP', port: 30_053 },
  origin: { namespace: 'd', name: 'all', portName: '', kind: 'nodePort' },
};
const ports: Readonly<Record<string, number>> = { internal: 4001, external: 4002, outside: 4003 };
const portOf = (key: string) => ports[key.split(' ').at(-1) ?? ''];

const web = '-p tcp -m comment --comment "d/all:web"';
const dns = '-p udp -m comment --comment "d/all"';
const is = '-m tcp --dport 80 -j';
const nodeIs = '-m udp --dport 30053 -j';
const to = (port: number) => `DNAT --to-destination 169.254.75.75:${port}`;
const refuse = 'REJECT --reject-with icmp-port-unreachable';

const table: Readonly<Record<string, { route: Route; rules?: Partial<TrafficRules>; lines: readonly string[] }>> = {
  'a cluster IP leads to its relay from everywhere': {
    route,
    lines: [
      `nat KUBE-PORTALS-CONTAINER -d 10.96.0.1/32 ${web} ${is} ${to(4001)}`,
      `nat KUBE-PORTALS-HOST -d 10.96.0.1/32 ${web} ${is} ${to(4001)}`,
    ],
  },
  'without endpoints it refuses': {
    route: { ...route, ...reject },
    lines: [
      `filter KEELSON-PORTALS-CONTAINER -d 10.96.0.1/32 ${web} ${is} ${refuse}`,
      `filter KEELSON-PORTALS-HOST -d 10.96.0.1/32 ${web} ${is} ${refuse}`,
    ],
  },
  'a node port is one of every local address': {
    route: node,
    lines: [
      `nat KUBE-NODEPORT-CONTAINER ${dns} ${nodeIs} ${to(4002)}`,
      `nat KUBE-NODEPORT-HOST ${dns} ${nodeIs} ${to(4002)}`,
    ],
  },
  'a node port that is dropped is so on local addresses alone': {
    route: { ...node, ...drop },
    lines: [
      `filter KEELSON-PORTALS-CONTAINER ${dns} -m addrtype --dst-type LOCAL ${nodeIs} DROP`,
      `filter KEELSON-PORTALS-HOST ${dns} -m addrtype --dst-type LOCAL ${nodeIs} DROP`,
    ],
  },
  'node ports may be for some addresses': {
    route: node,
    rules: { nodePortAddresses: ['192.0.2.0/24', '198.51.100.7/32'] },
    lines: ['CONTAINER', 'HOST'].flatMap((way) =>
      ['192.0.2.0/24', '198.51.100.7/32'].map(
        (range) => `nat KUBE-NODEPORT-${way} -d ${range} ${dns} ${nodeIs} ${to(4002)}`,
      ),
    ),
  },
  'clients from outside have a relay of their own, behind the rule for those of the cluster': {
    route: { ...balancer, outside: forward },
    lines: [
      `nat KUBE-PORTALS-CONTAINER -s 10.244.0.0/16 -d 203.0.113.1/32 ${web} ${is} ${to(4002)}`,
      `nat KUBE-PORTALS-CONTAINER -d 203.0.113.1/32 ${web} ${is} ${to(4003)}`,
      `nat KUBE-PORTALS-HOST -d 203.0.113.1/32 ${web} ${is} ${to(4002)}`,
    ],
  },
  'those of the cluster may be known by their interface': {
    route: { ...balancer, outside: drop },
    rules: { local: { interface: 'veth*' } },
    lines: [
      `nat KUBE-PORTALS-CONTAINER -d 203.0.113.1/32 -i veth+ ${web} ${is} ${to(4002)}`,
      `filter KEELSON-PORTALS-CONTAINER -d 203.0.113.1/32 ${web} ${is} DROP`,
      `nat KUBE-PORTALS-HOST -d 203.0.113.1/32 ${web} ${is} ${to(4002)}`,
    ],
  },
  'where nobody is known to be of the cluster, all that comes in is from outside': {
    route: { ...balancer, outside: drop },
    rules: { local: undefined },
    lines: [
      `filter KEELSON-PORTALS-CONTAINER -d 203.0.113.1/32 ${web} ${is} DROP`,
      `nat KUBE-PORTALS-HOST -d 203.0.113.1/32 ${web} ${is} ${to(4002)}`,
    ],
  },
  'what is refused does not fall to the rule behind it': {
    route: { ...balancer, ...reject, outside: forward },
    lines: [
      `nat KUBE-PORTALS-CONTAINER -s 10.244.0.0/16 -d 203.0.113.1/32 ${web} ${is} RETURN`,
      `filter KEELSON-PORTALS-CONTAINER -s 10.244.0.0/16 -d 203.0.113.1/32 ${web} ${is} ${refuse}`,
      `nat KUBE-PORTALS-CONTAINER -d 203.0.113.1/32 ${web} ${is} ${to(4003)}`,
      `filter KEELSON-PORTALS-HOST -d 203.0.113.1/32 ${web} ${is} ${refuse}`,
    ],
  },
  'who is in no range is dropped, before it could be refused': {
    route: { ...balancer, ...reject, sources: ['192.0.2.9/24', '203.0.113.1'] },
    lines: ['CONTAINER', 'HOST'].flatMap((way) => [
      `filter KEELSON-PORTALS-${way} -s 192.0.2.0/24 -d 203.0.113.1/32 ${web} ${is} ${refuse}`,
      `filter KEELSON-PORTALS-${way} -s 203.0.113.1/32 -d 203.0.113.1/32 ${web} ${is} ${refuse}`,
      `filter KEELSON-PORTALS-${way} -d 203.0.113.1/32 ${web} ${is} DROP`,
    ]),
  },
  'ranges and the cluster’s own meet': {
    route: { ...balancer, outside: forward, sources: ['10.0.0.0/8', '192.0.2.0/24'] },
    lines: [
      `nat KUBE-PORTALS-CONTAINER -s 10.244.0.0/16 -d 203.0.113.1/32 ${web} ${is} ${to(4002)}`,
      `nat KUBE-PORTALS-CONTAINER -s 10.0.0.0/8 -d 203.0.113.1/32 ${web} ${is} ${to(4003)}`,
      `nat KUBE-PORTALS-CONTAINER -s 192.0.2.0/24 -d 203.0.113.1/32 ${web} ${is} ${to(4003)}`,
      `filter KEELSON-PORTALS-CONTAINER -d 203.0.113.1/32 ${web} ${is} DROP`,
      `nat KUBE-PORTALS-HOST -s 10.0.0.0/8 -d 203.0.113.1/32 ${web} ${is} ${to(4002)}`,
      `nat KUBE-PORTALS-HOST -s 192.0.2.0/24 -d 203.0.113.1/32 ${web} ${is} ${to(4002)}`,
      `filter KEELSON-PORTALS-HOST -d 203.0.113.1/32 ${web} ${is} DROP`,
    ],
  },
  'by IPv6': {
    route: { ...route, frontend: { ...route.frontend, ip: 'fd00:96::1' } },
    rules: { family: 'IPv6' },
    lines: ['CONTAINER', 'HOST'].map(
      (way) =>
        `nat KUBE-PORTALS-${way} -d fd00:96::1/128 ${web} ${is} DNAT --to-destination [fd6b:6565:6c73:6f6e::1]:4001`,
    ),
  },
  'SCTP has no rule': { route: { ...route, frontend: { ...route.frontend, protocol: 'SCTP' } }, lines: [] },
};
for (const [sentence, { route, rules: more, lines }] of Object.entries(table)) {
  test(sentence, () => {
    const compiled = compileRoute(route, { ...rules, ...more }, portOf);
    assert.deepEqual(
      compiled.map(({ table, chain, line }) => `${table} ${chain} ${line}`),
      lines,
    );
  });
}

test('a route whose relay cannot be had refuses', () => {
  const lines = compileRoute(route, rules, () => undefined).map(({ chain, line }) => `${chain} ${line}`);
  assert.match(lines[0] ?? '', /^KEELSON-PORTALS-CONTAINER .* -j REJECT/);
  assert.equal(lines.length, 2);
});

test('the ways in from outside share relays, and the cluster IP has its own', () => {
  const external = { ...balancer, origin: { ...balancer.origin, kind: 'externalIP' } } as const;
  assert.equal(relayKey(balancer, 'external'), relayKey(external, 'external'));
  assert.deepEqual(
    relaysOf({ ...balancer, outside: forward }).map(([key]) => key),
    ['d/all web TCP external', 'd/all web TCP outside'],
  );
  assert.deepEqual(
    relaysOf(route).map(([key]) => key),
    ['d/all web TCP internal'],
  );
  assert.deepEqual(relaysOf({ ...balancer, outside: drop }).length, 1);
});

test('relays get only what was led to them; loopback has node ports where it is said so', () => {
  const guard = ['-d 169.254.75.75/32 -m conntrack ! --ctstate DNAT -j DROP', '-d 169.254.75.75/32 -j ACCEPT'];
  const lines = (more: Partial<TrafficRules>) => compilePortals([node, route], { ...rules, ...more }, portOf);
  assert.deepEqual(lines({}).filter.get('KUBE-NODEPORT-NON-LOCAL'), guard);
  assert.equal(lines({}).nat.get('KUBE-NODEPORT-HOST')?.length, 1);
  const without = lines({ localhostNodePorts: false });
  assert.equal(without.nat.get('KUBE-NODEPORT-HOST')?.[0], '-d 127.0.0.0/8 -j RETURN');
  assert.deepEqual(without.filter.get('KEELSON-PORTALS-HOST'), ['-d 127.0.0.0/8 -j RETURN']);
});
