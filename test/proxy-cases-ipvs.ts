import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { FakeClock } from '../src/lib/fake-clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { IpvsSettings } from '../src/proxy/ipvs/ipvs-backend.ts';
import { IpvsBackend } from '../src/proxy/ipvs/ipvs-backend.ts';
import { ipvsUnusable } from '../src/proxy/ipvs/ipvs-check.ts';
import { IpvsRemains } from '../src/proxy/ipvs/ipvs-remains.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';

/** What the fake kernel and a real one have to do alike, as the IPVS mode sees them. */

const never = new AbortController().signal;
export const ipvsSettings: IpvsSettings = {
  ...{ scheduler: 'rr', excludeCIDRs: [], strictARP: false },
  ...{ tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 0 },
};

const addresses = {
  IPv4: {
    vip: '10.96.0.7',
    external: '198.51.100.7',
    pod: '10.244.0.',
    cidr: '10.244.0.0/16',
    ranges: ['0.0.0.0/0', '10.9.9.9/8'],
  },
  IPv6: {
    vip: 'fd00:96::7',
    external: 'fd00:e::7',
    pod: 'fd00:10:244::',
    cidr: 'fd00:10:244::/48',
    ranges: ['::/0', 'fd00:9::9/64'],
  },
} as const;

/** Every kind of virtual server, member and mark. */
function service(family: IpFamily, more: Partial<Service['spec']> = {}): Service {
  const { vip, external } = addresses[family];
  return {
    metadata: { name: 's', namespace: 'd' },
    spec: {
      type: 'LoadBalancer',
      clusterIPs: [vip],
      ports: [
        { name: 'web', port: 80, nodePort: 30_080 },
        { name: 'dns', port: 53, protocol: 'UDP', nodePort: 30_053 },
        { name: 'sctp', port: 9, protocol: 'SCTP', nodePort: 30_009 },
      ],
      externalIPs: [external],
      ...more,
    },
    status: { loadBalancer: { ingress: [{ ip: external.replace(/7$/, '8') }] } },
  };
}

function slice(family: IpFamily, ...hosts: readonly number[]): EndpointSlice {
  return {
    metadata: { name: 's-1', namespace: 'd', labels: { [serviceNameLabel]: 's' } },
    addressType: family,
    endpoints: hosts.map((host) => ({
      addresses: [addresses[family].pod + host],
      nodeName: host % 2 ? 'node' : 'other',
    })),
    ports: [
      { name: 'web', port: 8080, protocol: 'TCP' },
      { name: 'dns', port: 5353, protocol: 'UDP' },
      { name: 'sctp', port: 99, protocol: 'SCTP' },
    ],
  };
}

/** Runs of programs that may change something. */
const isWrite = (file: string, args: readonly string[]): boolean =>
  /^(ipvsadm (-R|--set)|ip (-force|-batch|link)|ipset .*restore|ip6?tables-restore|sysctl -q)/.test(
    [file, ...args].join(' '),
  );

export function describeIpvsContract(name: string, execOf: () => Exec): void {
  describe(name, () => {
    const written: string[] = [];
    const exec: Exec = {
      run: (file, args, options) => {
        if (isWrite(file, args)) written.push([file, ...args].join(' '));
        return execOf().run(file, args, options);
      },
    };

    const proxierOf = (family: IpFamily, clock: FakeClock, settings = ipvsSettings) => {
      const backend = new IpvsBackend({ exec, log: silentLog, clock, family, settings });
      const options = { clock, log: silentLog, nodeName: 'node', masqueradeAll: false, masqueradeBit: 14, family };
      return new Proxier({ ...options, exec, backend, clusterCidrs: [addresses[family].cidr] });
    };

    test('it can be used, but not with a scheduler that nobody has', async () => {
      assert.equal(await ipvsUnusable(exec, { scheduler: 'rr' })(never), undefined);
      const error = await ipvsUnusable(exec, { scheduler: 'nosuch' })(never);
      assert.equal(error?.code, 'IpvsScheduler');
      assert.deepEqual(await new IpvsRemains({ exec }).found(never), []);
    });

    for (const family of ['IPv4', 'IPv6'] as const) {
      test(`${family}: what was written is what is read back, after each of a series of changes`, async () => {
        const clock = new FakeClock();
        const proxier = proxierOf(family, clock);
        proxier.sourcesSynced();
        const affinity = {
          sessionAffinity: 'ClientIP',
          sessionAffinityConfig: { clientIP: { timeoutSeconds: 77 } },
        } as const;
        const steps: (readonly [Service | undefined, EndpointSlice | undefined])[] = [
          [service(family), slice(family, 1, 2, 3)],
          [service(family, { externalTrafficPolicy: 'Local' }), slice(family, 2, 3)],
          [service(family, { externalTrafficPolicy: 'Local', ...affinity }), slice(family, 2, 3)],
          [service(family, { externalTrafficPolicy: 'Local' }), slice(family, 2)],
          [service(family, { loadBalancerSourceRanges: [...addresses[family].ranges] }), slice(family, 1, 2)],
          [service(family, { internalTrafficPolicy: 'Local', ...affinity }), slice(family, 2, 4)],
          [service(family), undefined],
          [undefined, undefined],
          [service(family, { externalTrafficPolicy: 'Local' }), slice(family, 1, 2, 3)],
        ];
        for (const [one, endpoints] of steps) {
          proxier.onServiceChange('d/s', one);
          proxier.onSliceChange('d/s-1', endpoints);
          await proxier.syncOnce('change', never);
          assert.deepEqual((await proxier.diff(never)).lines, []);
        }
        written.length = 0;
        const again = proxierOf(family, clock);
        again.onServiceChange('d/s', steps.at(-1)?.[0]);
        again.onSliceChange('d/s-1', steps.at(-1)?.[1]);
        again.sourcesSynced();
        await again.syncOnce('change', never);
        assert.deepEqual(written, [], 'a restart with nothing to change writes nothing');

        await clock.advance(10_000);
        await again.syncOnce('change', never);
        assert.deepEqual((await again.diff(never)).lines, []);
      });
    }

    test('what is refused of a batch keeps nothing else from being done', async () => {
      const clock = new FakeClock();
      const broken = proxierOf('IPv4', clock, { ...ipvsSettings, scheduler: 'nosuch' });
      broken.onServiceChange('d/s', service('IPv4'));
      broken.onSliceChange('d/s-1', slice('IPv4', 1));
      broken.sourcesSynced();
      await assert.rejects(broken.syncOnce('change', never), { code: 'IpvsScheduler' });
      const whole = proxierOf('IPv4', clock);
      whole.onServiceChange('d/s', service('IPv4'));
      whole.onSliceChange('d/s-1', slice('IPv4', 1));
      whole.sourcesSynced();
      await whole.syncOnce('change', never);
      assert.deepEqual((await whole.diff(never)).lines, []);
    });

    test('all that is left can be found and removed', async () => {
      const remains = new IpvsRemains({ exec });
      const found = await remains.found(never);
      for (const part of [
        /^dummy device kube-ipvs0$/,
        /^ipset KUBE-CLUSTER-IP$/,
        /^iptables(-nft)? chain nat KEELSON-IPVS-SERVICES$/,
      ]) {
        assert.ok(
          found.some((line) => part.test(line)),
          found.join('\n'),
        );
      }
      await remains.remove(never);
      assert.deepEqual(await remains.found(never), []);
      assert.deepEqual(await remains.conflicts(never), []);
      await remains.remove(never);
    });
  });
}
