import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PortProtocol } from '../api/core-v1.ts';
import type { Route } from './route-services.ts';
import type { StaleFlows } from './stale-flows.ts';
import { isUnrouted, staleAmong, staleFlows, stillStale } from './stale-flows.ts';
import { relayAddress } from './userspace/compile-portals.ts';

const at = (number: number) => ({ ip: `10.244.0.${number}`, port: 5353 });

function route(endpoints: readonly number[], more: Partial<Route> = {}, protocol: PortProtocol = 'UDP'): Route {
  return {
    verdict: endpoints.length > 0 ? 'forward' : 'reject',
    targets: endpoints.map((number) => ({ ...at(number), mayBeLocal: false })),
    frontend: { ip: '10.96.0.1', protocol, port: 53 },
    origin: { namespace: 'd', name: 'dns', portName: '', kind: 'clusterIP' },
    masquerade: 'outsiders',
    outside: undefined,
    affinitySeconds: undefined,
    sources: undefined,
    ...more,
  };
}

const to = (endpoint: StaleFlows['endpoint']) => ({ ip: '10.96.0.1', port: 53, endpoint });

const changes: Record<string, { previous?: Route; current?: Route; stale: readonly StaleFlows[] }> = {
  'an endpoint that goes': { previous: route([1, 2]), current: route([2]), stale: [to(at(1))] },
  'an endpoint that comes': { previous: route([2]), current: route([1, 2]), stale: [] },
  'from none to some: those that lead nowhere': {
    previous: route([]),
    current: route([1]),
    stale: [to(undefined)],
  },
  'a Service that comes with endpoints': { current: route([1]), stale: [to(undefined)] },
  'a Service that goes': { previous: route([1]), stale: [to(at(1))] },
  'the last endpoint goes': { previous: route([1]), current: route([]), stale: [to(at(1))] },
  'TCP clients notice themselves': { previous: route([1], {}, 'TCP'), current: route([], {}, 'TCP'), stale: [] },
  'an endpoint that only outsiders still reach': {
    previous: route([1, 2]),
    current: route([2], { outside: route([1]) }),
    stale: [],
  },
  'an endpoint that leaves, and still serves': {
    previous: route([1, 2]),
    current: route([2], { holds: [at(1)] }),
    stale: [],
  },
  'an endpoint that has left': { previous: route([2], { holds: [at(1)] }), current: route([2]), stale: [to(at(1))] },
  'from those of other nodes alone to one of this': {
    previous: route([], { verdict: 'drop', holds: [at(1)] }),
    current: route([2], { holds: [at(1)] }),
    stale: [to(undefined)],
  },
};
for (const [sentence, { previous, current, stale }] of Object.entries(changes)) {
  test(sentence, () => {
    const change = { frontend: '10.96.0.1 UDP 53', services: ['d/dns'], previous, current };
    assert.deepEqual(staleFlows(change), stale);
  });
}

test('of the flows that a start finds, those that no route leads to are stale', () => {
  const routes = new Map([
    ['10.96.0.1 53', route([1])],
    ['10.96.0.2 53', route([])],
    ['* 30053', route([1])],
    ['10.96.0.3 53', route([1], { holds: [at(2)] })],
  ]);
  const flow = (ip: string, port: number, answersFrom: { ip: string; port: number }) => ({ ip, port, answersFrom });
  const gone = [
    flow('10.96.0.1', 53, at(2)),
    flow('10.96.0.3', 53, at(3)),
    flow('10.96.0.1', 53, { ip: '10.96.0.1', port: 53 }),
    flow('10.96.0.2', 53, at(1)),
    flow('192.0.2.1', 30053, at(2)),
  ];
  const kept = [
    flow('10.96.0.1', 53, at(1)),
    flow('10.96.0.3', 53, at(2)),
    flow('10.96.0.2', 53, { ip: '10.96.0.2', port: 53 }),
    flow('192.0.2.1', 30053, at(1)),
    flow('198.51.100.1', 30053, { ip: '198.51.100.1', port: 30053 }),
    flow('198.51.100.1', 53, at(9)),
    flow('198.51.100.1', 30053, at(9)),
    flow('10.96.0.1', 53, { ip: relayAddress.IPv4, port: 40_000 }),
  ];
  const routeOf = (ip: string, port: number) => routes.get(`${ip} ${port}`);
  const found = [...kept, ...gone].filter((one) => isUnrouted(one, routeOf, (ip) => ip === '192.0.2.1'));
  assert.deepEqual(found, gone);
});

test('of the flows to the number of a node port, those to addresses of the node alone are removed', () => {
  const flow = (ip: string, answersFrom: { ip: string; port: number }) => ({ ip, port: 30053, answersFrom });
  const own = (ip: string) => ({ ip, port: 30053 });
  const flows = [
    flow('192.0.2.1', own('192.0.2.1')),
    flow('192.0.2.1', own('192.0.2.1')),
    flow('127.0.0.1', own('127.0.0.1')),
    flow('192.0.2.1', at(1)),
    flow('192.0.2.1', at(2)),
    flow('198.51.100.1', own('198.51.100.1')),
    flow('198.51.100.1', at(1)),
  ];
  const isNodeAddress = (ip: string) => ip === '192.0.2.1' || ip === '127.0.0.1';
  const among = (endpoint: StaleFlows['endpoint']) =>
    staleAmong(flows, [{ ip: '*', port: 30053, endpoint }], () => false, isNodeAddress);
  assert.deepEqual(
    among(undefined).map(({ ip, endpoint }) => [ip, endpoint]),
    ['192.0.2.1', '127.0.0.1'].map((ip) => [ip, own(ip)]),
  );
  assert.deepEqual(among(at(1)), [{ ip: '192.0.2.1', port: 30053, endpoint: at(1) }]);
});

test('an endpoint that came back before the kernel heard of its leave keeps its flows', () => {
  const routeOf = (ip: string) => (ip === '10.96.0.1' ? route([1]) : undefined);
  assert.deepEqual(stillStale([to(at(1)), to(at(2)), to(undefined)], routeOf), [to(at(2)), to(undefined)]);
  const withoutEndpoints = { ...to(undefined), ip: '10.96.0.2' };
  assert.deepEqual(stillStale([withoutEndpoints], routeOf), []);
});
