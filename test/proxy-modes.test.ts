import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { buildModes } from '../src/assembly/proxy-modes.ts';
import { defaultsOf } from '../src/config/keys.ts';
import { proxyKeys } from '../src/config/proxy-keys.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { ProxyMode } from '../src/proxy/backend.ts';
import { modeSettings } from '../src/proxy/mode-settings.ts';
import { ModeSwitch } from '../src/proxy/mode-switch.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { type Agent, Lab, tcpPort } from './proxy-lab.ts';

/**
 * From every mode of the kernel to every other one that works on this machine (IPVS does in the virtual one), as a
 * restart of the daemon does it. The userspace mode, whose relay is a process, is in agent-modes.test.ts.
 */

const kernelModes: readonly ProxyMode[] = ['nftables', 'iptables', 'ipvs'];
/**
 * How many connections of one client, who has one at a time, end with the mode. IPVS takes along what it carries when
 * its servers go, and what the node itself has asked from one of its addresses when these go.
 */
const mayLose: Readonly<Record<ProxyMode, number>> = { nftables: 0, iptables: 0, ipvs: 2, userspace: 0 };
const families: readonly IpFamily[] = ['IPv4', 'IPv6'];
const signal = new AbortController().signal;
const vips = { IPv4: '10.96.0.10', IPv6: 'fd00:10:96::10' };
const pods = { IPv4: '10.244.0.10', IPv6: 'fd00:10:244::10' };
const defaults = defaultsOf(proxyKeys);

let lab: Lab;
let modes: ReturnType<typeof buildModes>;
let modeSwitch: ModeSwitch;
let host: Agent;
let outside: Agent;
let hasIpvs = false;

before(async () => {
  lab = await Lab.create();
  modes = buildModes({ ipvs: defaults.ipvs, exec: lab.exec, clock: systemClock, log: silentLog });
  modeSwitch = new ModeSwitch({ modes, clock: systemClock, log: silentLog });
  [host, outside] = await Promise.all([lab.host(), lab.outside()]);
  await lab.pod('web', pods.IPv4, pods.IPv6);
  await lab.node('nft add table ip somebody');
  for (const program of ['iptables', 'ip6tables']) {
    await lab.node(`${program} -t nat -N SOMEBODY`);
    await lab.node(`${program} -t nat -A PREROUTING -p tcp --dport 9 -j SOMEBODY`);
  }
  hasIpvs = (await modes.ipvs.unusable(signal)) === undefined;
});
after(() => lab?.[Symbol.asyncDispose]());

/** What a daemon that starts in a mode does until its first sync is through. */
async function carryIn(mode: ProxyMode): Promise<void> {
  for (const family of families) {
    const { minSyncPeriodMs: _, ...settings } = modeSettings(mode, defaults);
    const proxier = new Proxier({
      ...{ exec: lab.exec, clock: systemClock, log: silentLog, nodeName: 'node', family, ...settings },
      ...{ clusterCidrs: ['10.244.0.0/16', 'fd00:10:244::/64'], backend: modes[mode].backend(family) },
    });
    proxier.onServiceChange('d/web', {
      metadata: { name: 'web', namespace: 'd' },
      spec: {
        ...{ clusterIP: vips.IPv4, clusterIPs: [vips.IPv4, vips.IPv6], ipFamilies: ['IPv4', 'IPv6'] },
        ports: [{ name: 'http', port: 80, protocol: 'TCP' }],
      },
    });
    proxier.onSliceChange(`d/web-${family}`, {
      metadata: { name: `web-${family}`, namespace: 'd', labels: { 'kubernetes.io/service-name': 'web' } },
      ...{ addressType: family, endpoints: [{ addresses: [pods[family]], nodeName: 'node' }] },
      ports: [{ name: 'http', port: tcpPort, protocol: 'TCP' }],
    });
    proxier.sourcesSynced();
    await proxier.syncOnce('change', signal);
  }
}

/** Asks without a pause until told to stop; resolves with all that was no answer. */
function load(agent: Agent, ip: string): { stop(): Promise<readonly string[]> } {
  let isOver = false;
  const wrong: string[] = [];
  const asking = (async () => {
    while (!isOver) {
      const answer = await agent.ask('tcp', ip, 80);
      if (answer.from !== 'web') wrong.push(`${agent.name} → ${ip}: ${answer.error}`);
    }
  })();
  return {
    stop: async () => {
      isOver = true;
      await asking;
      return wrong;
    },
  };
}

for (const from of kernelModes) {
  for (const to of kernelModes.filter((mode) => mode !== from)) {
    const lost = mayLose[from] === 0 ? 'no connection is lost' : 'those lost are those that it carried';
    test(`${from} → ${to}: ${lost}, nothing of ${from} is left, nothing of others is touched`, async (t) => {
      if (!hasIpvs && [from, to].includes('ipvs')) return t.skip('this machine has no IPVS');
      await carryIn(from);
      await modeSwitch.removeOthers(from, signal);
      const loads = [host, outside].flatMap((agent) => families.map((family) => load(agent, vips[family])));
      await carryIn(to);
      await modeSwitch.removeOthers(to, signal);
      for (const wrong of await Promise.all(loads.map((one) => one.stop())))
        assert.ok(wrong.length <= mayLose[from], wrong.join('\n'));
      const found = await Promise.all(kernelModes.map(async (mode) => [mode, await modes[mode].remains.found(signal)]));
      assert.deepEqual(
        found.filter(([, lines]) => lines?.length).map(([mode]) => mode),
        [to],
      );
      assert.match(await lab.node('nft list tables'), /^table ip somebody$/m);
      for (const program of ['iptables-save', 'ip6tables-save'])
        assert.match(await lab.node(`${program} -t nat`), /^-A PREROUTING .*--dport 9 -j SOMEBODY$/m);
      for (const family of families) assert.equal((await host.ask('tcp', vips[family], 80)).from, 'web');
      for (const mode of kernelModes) assert.deepEqual(await modes[mode].remains.conflicts(signal), [], mode);
    });
  }
}
