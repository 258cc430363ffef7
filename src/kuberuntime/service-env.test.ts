import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Pod, Service, ServiceSpec } from '../api/core-v1.ts';
import { generateServiceEnv } from './service-env.ts';

const service = (namespace: string, name: string, spec: ServiceSpec): Service => ({
  metadata: { namespace, name },
  spec,
});
const kubernetes = service('default', 'kubernetes', { clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443 }] });
const websvc = service('golden', 'websvc', {
  clusterIP: '10.96.77.7',
  ports: [{ name: '80-8080', protocol: 'TCP', port: 80, targetPort: 8080 }],
});

const apiServerEnv = {
  KUBERNETES_SERVICE_HOST: '10.96.0.1',
  KUBERNETES_SERVICE_PORT: '443',
  KUBERNETES_SERVICE_PORT_HTTPS: '443',
  KUBERNETES_PORT: 'tcp://10.96.0.1:443',
  KUBERNETES_PORT_443_TCP: 'tcp://10.96.0.1:443',
  KUBERNETES_PORT_443_TCP_PROTO: 'tcp',
  KUBERNETES_PORT_443_TCP_PORT: '443',
  KUBERNETES_PORT_443_TCP_ADDR: '10.96.0.1',
};

const cases: Record<string, { services: readonly Service[]; links?: boolean; expected: Record<string, string> }> = {
  "the API server's Service is always there": { services: [kubernetes, websvc], links: false, expected: apiServerEnv },
  'Services of other namespaces are not': {
    services: [kubernetes, service('other', 'x', { clusterIP: '10.96.0.9', ports: [{ port: 1 }] })],
    expected: apiServerEnv,
  },
  'headless, external and unassigned Services have no variables': {
    services: [
      service('golden', 'a', { clusterIP: 'None', ports: [{ port: 1 }] }),
      service('golden', 'b', { type: 'ExternalName', externalName: 'x.example' }),
      service('golden', 'c', { ports: [{ port: 1 }] }),
    ],
    expected: {},
  },
  'a second port has links but is not the default; IPv6 is bracketed in URLs': {
    services: [
      service('golden', 'my-dns', {
        clusterIP: 'fd00::a',
        ports: [
          { name: 'udp-53', port: 53, protocol: 'UDP' },
          { name: 'tcp-53', port: 53, protocol: 'TCP' },
        ],
      }),
    ],
    expected: {
      MY_DNS_SERVICE_HOST: 'fd00::a',
      MY_DNS_SERVICE_PORT: '53',
      MY_DNS_SERVICE_PORT_UDP_53: '53',
      MY_DNS_SERVICE_PORT_TCP_53: '53',
      MY_DNS_PORT: 'udp://[fd00::a]:53',
      MY_DNS_PORT_53_UDP: 'udp://[fd00::a]:53',
      MY_DNS_PORT_53_UDP_PROTO: 'udp',
      MY_DNS_PORT_53_UDP_PORT: '53',
      MY_DNS_PORT_53_UDP_ADDR: 'fd00::a',
      MY_DNS_PORT_53_TCP: 'tcp://[fd00::a]:53',
      MY_DNS_PORT_53_TCP_PROTO: 'tcp',
      MY_DNS_PORT_53_TCP_PORT: '53',
      MY_DNS_PORT_53_TCP_ADDR: 'fd00::a',
    },
  },
};

for (const [sentence, { services, links, expected }] of Object.entries(cases)) {
  test(sentence, () => {
    assert.deepEqual(Object.fromEntries(generateServiceEnv(services, 'golden', links ?? true)), expected);
  });
}

test("the pod's own namespace may shadow the API server's Service", () => {
  const own = service('golden', 'kubernetes', { clusterIP: '10.96.5.5', ports: [{ port: 1 }] });
  for (const services of [
    [own, kubernetes],
    [kubernetes, own],
  ]) {
    assert.equal(generateServiceEnv(services, 'golden', true).get('KUBERNETES_SERVICE_HOST'), '10.96.5.5');
    assert.equal(generateServiceEnv(services, 'golden', false).get('KUBERNETES_SERVICE_HOST'), '10.96.0.1');
  }
});

interface Golden {
  readonly pod: Pod;
  readonly containers: Record<string, { readonly config: { readonly envs?: { key: string; value?: string }[] } }>;
}

const folder = new URL('../../test/golden/pods/', import.meta.url);
for (const file of readdirSync(folder)) {
  const { pod, containers } = JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as Golden;
  for (const [name, { config }] of Object.entries(containers)) {
    test(`the service variables of ${file}, container ${name}`, () => {
      // kubelet gives them in random order; those of the container itself are no concern here.
      const recorded = (config.envs ?? []).filter(({ key }) => /^(KUBERNETES|WEBSVC)_/.test(key));
      const expected = Object.fromEntries(recorded.map(({ key, value }) => [key, value ?? '']));
      const links = pod.spec.enableServiceLinks !== false;
      const env = generateServiceEnv([kubernetes, websvc], pod.metadata.namespace ?? '', links);
      assert.deepEqual(Object.fromEntries(env), expected);
    });
  }
}

test('a Service of any shape costs only itself', () => {
  const metadata = { name: 'odd', namespace: 'ns' };
  const ports = ['x', [null], [{ port: '80' }], [{}], [{ port: 80, name: 7 }], [{ port: 80, protocol: 6 }]];
  const odd = [
    ...[{ metadata }, { metadata, spec: null }, { metadata, spec: { clusterIP: 7 } }],
    ...ports.map((one) => ({ metadata, spec: { clusterIP: '10.96.0.9', ports: one } })),
  ] as unknown as Service[];
  const good: Service = {
    metadata: { name: 'good', namespace: 'ns' },
    spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] },
  };
  for (const one of odd) {
    const env = generateServiceEnv([one, good], 'ns', true);
    assert.equal(env.get('GOOD_SERVICE_PORT'), '80');
    assert.equal(env.has('ODD_SERVICE_HOST'), false);
  }
});
