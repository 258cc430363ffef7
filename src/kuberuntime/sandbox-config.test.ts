import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Container, ContainerPort, PodSpec } from '../api/core-v1.ts';
import { Protocol } from '../api/cri.ts';
import { deepFreeze } from '../lib/deep-freeze.ts';
import { sandboxConfig } from './sandbox-config.ts';

const configOf = (spec: Partial<PodSpec>) =>
  sandboxConfig({
    pod: deepFreeze({ metadata: { name: 'p', namespace: 'ns', uid: 'u' }, spec: { containers: [], ...spec } }),
    attempt: 0,
    source: 'api',
    seenAt: '',
    dns: {},
    hostname: 'p',
    podLogsDir: '/logs',
    cgroupParent: '/c',
    resources: {},
    overhead: {},
  });

const container = (...ports: ContainerPort[]): Container => ({ name: 'c', ports });
const sidecar = (...ports: ContainerPort[]): Container => ({ name: 's', restartPolicy: 'Always', ports });
const { TCP, UDP, SCTP } = Protocol;

const ports: Record<string, { spec: Partial<PodSpec>; expect: readonly [number, number, number, string][] }> = {
  'each protocol, address and port of the host': {
    spec: {
      containers: [
        container(
          { containerPort: 80, hostPort: 8080, hostIP: '192.0.2.1' },
          { containerPort: 53, hostPort: 53, protocol: 'UDP' },
          { containerPort: 9, protocol: 'SCTP' },
        ),
      ],
    },
    expect: [
      [TCP, 80, 8080, '192.0.2.1'],
      [UDP, 53, 53, ''],
      [SCTP, 9, 0, ''],
    ],
  },
  'the same port in two address families': {
    spec: {
      containers: [
        container(
          { containerPort: 80, hostPort: 80, hostIP: '127.0.0.1' },
          { containerPort: 80, hostPort: 80, hostIP: '::1' },
        ),
      ],
    },
    expect: [
      [TCP, 80, 80, '127.0.0.1'],
      [TCP, 80, 80, '::1'],
    ],
  },
  'the same twice counts once': {
    spec: { containers: [container({ containerPort: 80 }, { containerPort: 80 })] },
    expect: [[TCP, 80, 0, '']],
  },
  'a name counts where it stands first': {
    spec: { containers: [container({ name: 'a', containerPort: 80 }, { name: 'a', containerPort: 81 })] },
    expect: [[TCP, 80, 0, '']],
  },
  'sidecars serve too, other init containers do not': {
    spec: {
      initContainers: [sidecar({ containerPort: 1 }), container({ containerPort: 2 })],
      containers: [container({ containerPort: 3 })],
    },
    expect: [
      [TCP, 1, 0, ''],
      [TCP, 3, 0, ''],
    ],
  },
};
for (const [sentence, { spec, expect }] of Object.entries(ports)) {
  test(`ports: ${sentence}`, () => {
    const mappings = configOf(spec).portMappings ?? [];
    assert.deepEqual(
      mappings.map((m) => [m.protocol, m.containerPort, m.hostPort, m.hostIp]),
      expect,
    );
  });
}

test('kernel parameters go to the runtime with dots', () => {
  const sysctls = [{ name: 'net/ipv4/conf/eth0.1/rp_filter', value: '1' }];
  const { linux } = configOf({ securityContext: { sysctls } });
  assert.deepEqual(linux?.sysctls, { 'net.ipv4.conf.eth0/1.rp_filter': '1' });
});

test("a pod on the host's network has no name of its own", () => {
  assert.equal(configOf({}).hostname, 'p');
  assert.equal('hostname' in configOf({ hostNetwork: true }), false);
});
