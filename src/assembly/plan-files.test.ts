import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { IpFamily } from '../proxy/read-service.ts';
import { type PlannedFiles, planFiles } from './plan-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'keelson-plan-'));
after(() => rmSync(folder, { recursive: true }));
const write = (name: string, text: string): string => {
  const file = join(folder, name);
  writeFileSync(file, text);
  return file;
};

const web = write(
  'web.yaml',
  `apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop, creationTimestamp: 2026-01-02T00:00:00Z}
spec: {clusterIP: 10.96.0.10, internalTrafficPolicy: Local, ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints:
- {addresses: [10.244.0.5], nodeName: node-a, targetRef: {kind: Pod, namespace: shop, name: web-a}}
- {addresses: [10.244.1.5], nodeName: node-b}
ports: [{name: http, port: 8080}]
`,
);
const nodes = (...names: readonly string[]) =>
  write(
    `${names.join('-')}.json`,
    JSON.stringify({ apiVersion: 'v1', kind: 'NodeList', items: names.map((name) => ({ metadata: { name } })) }),
  );

/** The lines of a plan that tell of Services, of all that a mode writes. */
const telling = ({ plan }: PlannedFiles, pattern: RegExp) =>
  plan().items.flatMap(({ family, mode, text }) => [
    `${mode} ${family}`,
    ...text.split('\n').filter((line) => pattern.test(line)),
  ]);

const expected: Record<string, { readonly pattern: RegExp; readonly lines: readonly string[] }> = {
  nftables: {
    pattern: /^add element/,
    lines: [
      'add element ip keelson hairpins { 10.244.0.5 . 10.244.0.5 }',
      'add element ip keelson endpoints-tcp { 10.96.0.10 . 80 . 0 : 10.244.0.5 . 8080 }',
      'add element ip keelson frontends { 10.96.0.10 . tcp . 80 : goto pick-tcp-1 }',
    ],
  },
  iptables: {
    pattern: /-j DNAT/,
    lines: [
      '-A KUBE-SEP-2QFQVMZDRZXAQWB2 -p tcp -m comment --comment "shop/web:http" -m tcp -j DNAT --to-destination 10.244.0.5:8080',
    ],
  },
  ipvs: {
    pattern: /^-[Aa] -t/,
    lines: ['-A -t 10.96.0.10:80 -s rr', '-a -t 10.96.0.10:80 -r 10.244.0.5:8080 -m -w 1'],
  },
};
for (const [mode, { pattern, lines }] of Object.entries(expected)) {
  test(`the objects of files, planned for the node among them: ${mode}`, async () => {
    const planned = await planFiles({ filenames: [web, nodes('node-a')], config: [], mode });
    assert.deepEqual([planned.problems, planned.isWhole], [[], true]);
    assert.deepEqual(telling(planned, pattern), [`${mode} IPv4`, ...lines]);
  });
}

test('the configuration says the mode and whose packets are masqueraded, and a flag which node it is', async () => {
  const config = write(
    'config.yaml',
    'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\nipvs: {scheduler: wlc}\n',
  );
  const filenames = [web, nodes('node-a', 'node-b')];
  const planned = await planFiles({ filenames, config: [config], hostnameOverride: 'node-b' });
  assert.deepEqual(telling(planned, /^-[Aa] -t/), [
    ...['ipvs IPv4', '-A -t 10.96.0.10:80 -s wlc', '-a -t 10.96.0.10:80 -r 10.244.1.5:8080 -m -w 1'],
  ]);
  const lost = await planFiles({ filenames, config: [], hostnameOverride: 'node-c' });
  assert.match(
    lost.problems[0] ?? '',
    /none of the Nodes is node-c: .* \(name one of them with --hostname-override\)$/,
  );
  assert.equal(lost.isWhole, false);
});

test('the families are those of the Services, or the one that is asked for', async () => {
  const six = write(
    'six.yaml',
    'apiVersion: v1\nkind: Service\nmetadata: {name: six}\nspec: {clusterIP: "fd00::9", ports: [{port: 80}]}\n',
  );
  const families = async (filenames: readonly string[], only?: IpFamily) =>
    (await planFiles({ filenames, config: [] }, only)).plan().items.map(({ family }) => family);
  assert.deepEqual(await families([web]), ['IPv4']);
  assert.deepEqual(await families([six]), ['IPv6']);
  assert.deepEqual(await families([web, six]), ['IPv4', 'IPv6']);
  assert.deepEqual(await families([web, six], 'IPv6'), ['IPv6']);
});

test('what is wrong with objects is told in their order, and costs nothing else', async () => {
  const bad = write(
    'bad.yaml',
    `apiVersion: v1
kind: Service
metadata: {name: later, creationTimestamp: 2026-01-03T00:00:00Z}
spec: {clusterIP: 10.96.0.10, ports: [{port: 80}, {name: big, port: 99999}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: later-1, labels: {kubernetes.io/service-name: later}}
addressType: IPv4
endpoints: [{addresses: [nowhere]}, 7]
`,
  );
  const missing = join(folder, 'missing.yaml');
  const planned = await planFiles({
    ...{ filenames: [missing, bad, web, nodes('node-a')], config: [], mode: 'nftables' },
  });
  assert.equal(planned.isWhole, false);
  assert.deepEqual(
    planned.problems.map((line) => line.replaceAll(`${folder}/`, '')),
    [
      'missing.yaml: there is no such file (check --filename)',
      'bad.yaml:1:1: document 1: Service default/later: spec.ports[1].port 99999 is not a port number (part of a Service cannot be used; correct it: the rest counts)',
      'bad.yaml:1:1: document 1: Service default/later: 10.96.0.10 TCP 80: shop/web has it, not default/later (two Services claim the same address and port; the older one has it; correct it: the rest counts)',
      'bad.yaml:6:1: document 2: EndpointSlice default/later-1: endpoints[0].addresses[0] "nowhere" is not an IP address; endpoints[1] 7 is not an object (part of an EndpointSlice cannot be used; correct it: the rest counts)',
    ],
  );
  assert.deepEqual(telling(planned, /^add element/), ['nftables IPv4', ...(expected['nftables']?.lines ?? [])]);
  // Nor does it stand in the way of a trace.
  const [trace] = planned.trace({ client: '10.244.0.9', target: 'later:80', protocol: '' }).items;
  assert.equal(trace?.service?.name, 'web');
});

test('a packet is traced through the objects of files', async () => {
  const planned = await planFiles({ filenames: [web, nodes('node-a')], config: [] });
  const [trace] = planned.trace({ client: 'host', target: 'shop/web:http', protocol: 'tcp' }).items;
  assert.deepEqual(
    [trace?.verdict, trace?.endpoints],
    [
      'forward',
      [{ ip: '10.244.0.5', port: 8080, target: 'Pod shop/web-a', node: 'node-a', isLocal: true, masqueraded: false }],
    ],
  );
  assert.throws(() => planned.trace({ client: 'shop/web-a', target: 'shop/web', protocol: '' }), {
    code: 'BadQuestion',
    message: /pods are not known from files/,
  });
});

test('without its Node it is not known which addresses the node has, and a trace says so', async () => {
  const sentence = async (...filenames: readonly string[]) => {
    const planned = await planFiles({ filenames, config: [], hostnameOverride: 'node-a' });
    const [trace] = planned.trace({ client: 'outside', target: '192.0.2.9:30080', protocol: '' }).items;
    return trace?.steps.find(({ about }) => about === 'frontend')?.sentence;
  };
  const node = write(
    'node-a-address.yaml',
    'apiVersion: v1\nkind: Node\nmetadata: {name: node-a}\nstatus: {addresses: [{type: InternalIP, address: 192.0.2.1}]}\n',
  );
  assert.match((await sentence(web)) ?? '', /which ones this node has is not known/);
  assert.match((await sentence(web, node)) ?? '', /none of this host/);
});
