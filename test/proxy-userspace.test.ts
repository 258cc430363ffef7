import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { Endpoint, EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import { UserspaceRemains } from '../src/proxy/userspace/userspace-remains.ts';
import type { Agent, Answer } from './proxy-lab.ts';
import { Lab, nodeIp, tcpPort, udpPort } from './proxy-lab.ts';
import { UserspaceProcess } from './userspace-process.ts';

/** What the userspace mode does as things change and end, with its process and its packets. */

const settings = { node: { metadata: { name: 'node' } }, clusterCidrs: ['10.244.0.0/16'] };
const vip = '10.96.0.1';
const relayIp = '169.254.75.75';
const first = '10.244.0.11';
const second = '10.244.0.12';

const service: Service = {
  metadata: { name: 's', namespace: 'd' },
  spec: {
    type: 'NodePort',
    clusterIPs: [vip],
    ports: [
      { name: 'web', port: 80, protocol: 'TCP', targetPort: tcpPort, nodePort: 30_080 },
      { name: 'dns', port: 53, protocol: 'UDP', targetPort: udpPort, nodePort: 30_053 },
    ],
  },
};
const sliceOf = (...addresses: readonly string[]): EndpointSlice => ({
  metadata: { name: 's-1', namespace: 'd', labels: { [serviceNameLabel]: 's' } },
  addressType: 'IPv4',
  endpoints: addresses.map((ip): Endpoint => ({ addresses: [ip], nodeName: 'node' })),
  ports: [
    { name: 'web', protocol: 'TCP', port: tcpPort },
    { name: 'dns', protocol: 'UDP', port: udpPort },
  ],
});

let lab: Lab;
let client: Agent;
let child: UserspaceProcess;
beforeEach(async () => {
  lab = await Lab.create();
  client = await lab.pod('client', '10.244.0.10');
  await lab.pod('s1', first);
  await lab.pod('s2', second);
  child = new UserspaceProcess(lab);
  await child.order({ settings, services: [service], slices: [sliceOf(first, second)] });
});
afterEach(async () => {
  await child?.[Symbol.asyncDispose]();
  await lab?.[Symbol.asyncDispose]();
});

/** A datagram of the same flow each time. */
const sameFlow = () => client.ask('udp', vip, 53, 4_000);

/** The kernel is told to forget a flow behind the rules; until it has, datagrams are refused. */
async function refusedUntil(isServed: (answer: Answer) => boolean): Promise<void> {
  for (let answer = await sameFlow(); !isServed(answer); answer = await sameFlow()) {
    assert.equal(answer.error, 'ECONNREFUSED');
  }
}

test('after a crash, connections are refused, and a start serves all again, old UDP flows too', async () => {
  assert.ok((await sameFlow()).from);
  await child.kill();
  assert.equal((await client.ask('tcp', vip, 80)).error, 'ECONNREFUSED');
  child = new UserspaceProcess(lab);
  await child.order({ settings, services: [service], slices: [sliceOf(first, second)] });
  assert.deepEqual([...(await client.spread('tcp', vip, 80, 4))].sort(), ['s1', 's2']);
  await refusedUntil(({ from }) => from !== undefined);
});

test('a UDP flow goes to whom the Service has', async () => {
  await child.order({ services: [], slices: [sliceOf(first)] });
  assert.equal((await sameFlow()).from, 's1');
  await child.order({ services: [], slices: [sliceOf(second)] });
  assert.equal((await sameFlow()).from, 's2');
});

test('a UDP flow hears that the Service has nobody, and is served when it has somebody again', async () => {
  assert.ok((await sameFlow()).from);
  await child.order({ services: [], slices: [sliceOf()] });
  assert.equal((await sameFlow()).error, 'ECONNREFUSED');
  await child.order({ services: [], slices: [sliceOf(second)] });
  await refusedUntil(({ from }) => from === 's2');
});

test('cleaning up behind a process that is gone leaves no flow that leads to it', async () => {
  assert.ok((await sameFlow()).from);
  await child.kill();
  await new UserspaceRemains({ exec: lab.exec }).remove(new AbortController().signal);
  assert.equal((await client.ask('udp', vip, 53, 4_000, 700)).error, 'TIMEOUT');
  assert.doesNotMatch(await lab.node('conntrack -L'), new RegExp(relayIp));
});

test('an endpoint that does not answer costs a moment, and no client', async () => {
  await child.order({ services: [], slices: [sliceOf('10.244.0.99', first)] });
  const answers = await Promise.all(Array.from({ length: 10 }, () => client.ask('tcp', vip, 80)));
  assert.deepEqual([...new Set(answers.map(({ from, error }) => from ?? error))], ['s1']);
});

test('with affinity a client keeps its endpoint, by address and node port alike', async () => {
  const spec = { ...service.spec, sessionAffinity: 'ClientIP' } as const;
  await child.order({ services: [{ ...service, spec }], slices: [] });
  const outside = await lab.outside();
  for (const [agent, to, port] of [
    [client, vip, 80],
    [outside, nodeIp, 30_080],
  ] as const) {
    assert.equal((await agent.spread('tcp', to, port, 10)).size, 1);
  }
});

test('nobody gets to a relay but by its Service', async () => {
  const saved = await lab.node('iptables-save -t nat');
  const ports = [...saved.matchAll(/-p (tcp|udp) .*--to-destination \S+:(\d+)$/gm)];
  assert.equal(new Set(ports.map(([, , port]) => port)).size, 4);
  const agents = [client, await lab.host(), await lab.outside()];
  await Promise.all(
    agents.flatMap((agent) =>
      ports.map(async ([, protocol, port]) => {
        const answer = await agent.ask(protocol as 'tcp' | 'udp', relayIp, Number(port), undefined, 700);
        assert.equal(answer.error, 'TIMEOUT');
        // Nor by another address of the node.
        const other = await agent.ask(protocol as 'tcp' | 'udp', nodeIp, Number(port));
        assert.equal(other.error, 'ECONNREFUSED');
      }),
    ),
  );
});
