import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countNoLocalEndpoints } from './no-local-endpoints.ts';
import type { Delivery, Route, RouteOrigin } from './route-services.ts';
import { frontendKey } from './route-services.ts';

const served: Delivery = { verdict: 'forward', targets: [{ ip: '10.244.1.1', port: 80, mayBeLocal: false }] };
const notHere: Delivery = { verdict: 'drop', targets: [] };
const nobody: Delivery = { verdict: 'reject', targets: [] };

const route = (
  kind: RouteOrigin['kind'],
  ip: string,
  delivery: Delivery,
  outside?: Delivery,
  portName = '',
): Route => ({
  ...delivery,
  frontend: { ip, protocol: 'TCP', port: 80 },
  origin: { namespace: 'd', name: 'web', portName, kind },
  ...({ masquerade: 'host', affinitySeconds: undefined, sources: undefined, outside } as const),
});

const cases: Readonly<Record<string, readonly [routes: readonly Route[], internal: number, external: number]>> = {
  'nothing is wanted here': [[route('clusterIP', '10.96.0.1', served)], 0, 0],
  'nobody serves anywhere': [
    [route('clusterIP', '10.96.0.1', nobody), route('externalIP', '192.0.2.9', nobody, nobody)],
    0,
    0,
  ],
  'several addresses are one port': [
    [
      route('clusterIP', '10.96.0.1', notHere),
      route('externalIP', '192.0.2.9', served, notHere),
      route('nodePort', '*', served, notHere),
    ],
    1,
    1,
  ],
  'several ports': [
    [route('clusterIP', '10.96.0.1', notHere), route('clusterIP', '10.96.0.2', notHere, undefined, 'other')],
    2,
    0,
  ],
};
for (const [sentence, [routes, internal, external]] of Object.entries(cases)) {
  test(`ports without a local endpoint: ${sentence}`, () => {
    const byFrontend = new Map(routes.map((one) => [frontendKey(one.frontend), one]));
    const table = { frontends: () => byFrontend.keys(), get: (key: string) => byFrontend.get(key) };
    assert.deepEqual(countNoLocalEndpoints(table), { internal, external });
  });
}
