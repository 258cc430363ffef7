import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { Backend } from '../src/proxy/backend.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import type { Agent } from './proxy-lab.ts';
import { Lab, nodeIp, nodeIp6, tcpPort } from './proxy-lab.ts';

const never = new AbortController().signal;

const families = {
  IPv4: { program: 'iptables', vip: '10.96.0.9', node: nodeIp },
  IPv6: { program: 'ip6tables', vip: 'fd00:96::9', node: nodeIp6 },
} as const;

/** A node whose own firewall lets nobody in: balancers' health checks get in, as long as there is somebody to ask for. */
export function describeFirewall(
  name: string,
  backendOf: (exec: Exec, family: IpFamily) => Backend,
  /** What follows the name `iptables`: the node's firewall and the mode are of one variant. */
  variant: '' | '-nft' | '-legacy',
  patience: { readonly dropTimeoutMs: number; readonly answerTimeoutMs: number } = {
    ...{ dropTimeoutMs: 700, answerTimeoutMs: 3_000 },
  },
): void {
  describe(`a firewall that lets nobody in: ${name}`, () => {
    let lab: Lab;
    let outside: Agent;
    before(async () => {
      lab = await Lab.create();
      // It answers at the port that is told as the Service's.
      await lab.host();
      outside = await lab.outside();
    });
    after(() => lab?.[Symbol.asyncDispose]());

    for (const [family, { program, vip, node }] of Object.entries(families)) {
      test(`${family}: health checks get in`, async () => {
        const firewall = (rule: string) => lab.node(`${program}${variant} -w 5 ${rule}`);
        await firewall('-P INPUT DROP');
        await firewall('-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT');
        if (family === 'IPv6') await firewall('-A INPUT -p ipv6-icmp -j ACCEPT');
        const ask = async (timeoutMs: number) => {
          const { from, error } = await outside.ask('tcp', node, tcpPort, undefined, timeoutMs);
          return from ?? error;
        };
        assert.equal(await ask(patience.dropTimeoutMs), 'TIMEOUT');
        const exec: Exec = {
          run: (file, args, options) =>
            lab.exec.run(file.replace(/^(ip6?tables)(?=$|-restore|-save)/, `$1${variant}`), args, options),
        };
        const backend = backendOf(exec, family as IpFamily);
        const common = {
          exec,
          clock: systemClock,
          log: silentLog,
          nodeName: 'node',
          masqueradeAll: false,
          clusterCidrs: [],
        };
        const proxier = new Proxier({ ...common, family: family as IpFamily, masqueradeBit: 14, backend });
        const service = (healthCheckNodePort: number): Service => ({
          metadata: { name: 's', namespace: 'd' },
          spec: {
            ...{ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort, clusterIP: vip },
            ports: [{ name: 'web', port: 80, protocol: 'TCP', nodePort: 30_080 }],
          },
        });
        const bring = async (one: Service | undefined) => {
          proxier.onServiceChange('d/s', one);
          await proxier.syncOnce('change', never);
        };
        proxier.sourcesSynced();
        await bring(service(tcpPort));
        assert.equal(await ask(patience.answerTimeoutMs), 'node');
        await bring(service(tcpPort + 1));
        assert.equal(await ask(patience.dropTimeoutMs), 'TIMEOUT');
        await bring(service(tcpPort));
        assert.equal(await ask(patience.answerTimeoutMs), 'node');
        await bring(undefined);
        assert.equal(await ask(patience.dropTimeoutMs), 'TIMEOUT');
      });
    }
  });
}
