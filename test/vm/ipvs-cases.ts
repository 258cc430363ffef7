import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { EndpointSlice } from '../../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../../src/api/discovery-v1.ts';
import type { Exec } from '../../src/host/exec.ts';
import { systemClock } from '../../src/lib/clock.ts';
import { silentLog } from '../../src/lib/log.ts';
import { IpvsBackend } from '../../src/proxy/ipvs/ipvs-backend.ts';
import { Proxier } from '../../src/proxy/proxier.ts';
import type { IpFamily } from '../../src/proxy/read-service.ts';
import { describeCases } from '../proxy-case-run.ts';
import { describeIpvsContract, ipvsSettings as settings } from '../proxy-cases-ipvs.ts';
import { describeFirewall } from '../proxy-firewall-run.ts';
import type { Agent } from '../proxy-lab.ts';
import { Lab, udpPort } from '../proxy-lab.ts';

/** Run in the virtual machine, because few machines' kernels have IPVS. */

/** IPVS drops what has a loopback address for its source and an endpoint elsewhere: a rule of the kernel. */
const isLoopback = (sentence: string): boolean => sentence.endsWith(' on 127.0.0.1');

let lab: Lab;
before(async () => {
  lab = await Lab.create();
});
after(() => lab?.[Symbol.asyncDispose]());
describeIpvsContract('the real IPVS', () => lab.exec);

describe('flows of UDP over IPVS', () => {
  const stop = new AbortController();
  const vip = '10.96.0.9';
  const ips = { s1: '10.244.0.11', s2: '10.244.0.12' };
  let running: Promise<void>;
  let proxier: Proxier;
  let client: Agent;
  /** Told of each flow that was removed, which happens once the rules lead elsewhere. */
  let forgotten = () => {};
  const announcing: Exec = {
    run: async (file, args, options) => {
      try {
        return await lab.exec.run(file, args, options);
      } finally {
        if (args.includes('-R') || (file === 'conntrack' && args.includes('-D'))) forgotten();
      }
    },
  };

  const slice = (...names: readonly (keyof typeof ips)[]): EndpointSlice => ({
    metadata: { name: 's-1', namespace: 'd', labels: { [serviceNameLabel]: 's' } },
    addressType: 'IPv4',
    endpoints: names.map((name) => ({ addresses: [ips[name]], nodeName: 'node' })),
    ports: [{ name: 'dns', protocol: 'UDP', port: udpPort }],
  });

  before(async () => {
    client = await lab.pod('client', '10.244.0.10');
    for (const [name, ip] of Object.entries(ips)) await lab.pod(name, ip);
    const common = { exec: announcing, clock: systemClock, log: silentLog };
    const backend = new IpvsBackend({ ...common, family: 'IPv4', settings });
    const options = { nodeName: 'node', masqueradeAll: false, masqueradeBit: 14, clusterCidrs: ['10.244.0.0/16'] };
    proxier = new Proxier({ ...common, ...options, backend });
    const ports = [{ name: 'dns', port: 53, protocol: 'UDP' }] as const;
    proxier.onServiceChange('d/s', { metadata: { name: 's', namespace: 'd' }, spec: { clusterIP: vip, ports } });
    proxier.onSliceChange('d/s-1', slice('s1', 's2'));
    proxier.sourcesSynced();
    running = proxier.run(stop.signal);
    await proxier.synced;
  });
  after(async () => {
    stop.abort();
    await running;
  });

  /** One flow: the same port of the client each time. */
  const ask = () => client.ask('udp', vip, 53, 5_353, 5_000);

  test('stay with their endpoint, and move on when it goes', async () => {
    const first = (await ask()).from;
    assert.ok(first === 's1' || first === 's2');
    assert.equal((await ask()).from, first);
    const other = first === 's1' ? 's2' : 's1';
    const isForgotten = new Promise<void>((resolve) => {
      forgotten = resolve;
    });
    proxier.onSliceChange('d/s-1', slice(other));
    await isForgotten;
    // IPVS drops the datagram by which it finds that the endpoint of a flow is gone.
    const answers = [(await ask()).from, (await ask()).from];
    assert.equal(answers.at(-1), other);
    assert.ok(!answers.includes(first));
  });
});

const patience = { dropTimeoutMs: 3_000, answerTimeoutMs: 20_000 };
const backendOf = (exec: Exec, family: IpFamily) =>
  new IpvsBackend({ exec, log: silentLog, clock: systemClock, family, settings });
describeFirewall('IPVS', backendOf, '', patience);
describeCases('IPVS', backendOf, (sentence) => !isLoopback(sentence), { patience });
