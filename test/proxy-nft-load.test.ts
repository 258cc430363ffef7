import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { NftBackend } from '../src/proxy/nftables/nft-backend.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { Lab } from './proxy-lab.ts';

/** What the kernel holds after loads of unusual kinds. */

const never = new AbortController().signal;
let lab: Lab;
before(async () => {
  lab = await Lab.create();
});
after(() => lab?.[Symbol.asyncDispose]());
afterEach(() => lab.node('nft flush ruleset'));

const port = { name: 'web', port: 80, protocol: 'TCP' } as const;
const service = (ip: string, more: object = {}): Service => ({
  metadata: { name: 'x', namespace: 'd' },
  spec: { clusterIP: ip, ports: [port], ...more },
});
const slice = (name: string, ips: readonly string[]): EndpointSlice => ({
  metadata: { name: `${name}-1`, namespace: 'd', labels: { [serviceNameLabel]: name } },
  addressType: ips[0]?.includes(':') ? 'IPv6' : 'IPv4',
  endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: 'node' })),
  ports: [{ ...port, port: 8080 }],
});

function newProxier(exec: Exec, maxWrites?: number, family: IpFamily = 'IPv4'): Proxier {
  const clusterCidrs = [family === 'IPv4' ? '10.244.0.0/16' : 'fd00:244::/32'];
  const settings = { masqueradeAll: false, clusterCidrs, masqueradeBit: 14, nodeName: 'node', family };
  const backend = new NftBackend({ exec, log: silentLog, ...(maxWrites === undefined ? {} : { maxWrites }) });
  return new Proxier({ ...settings, exec, clock: systemClock, log: silentLog, backend });
}

/** Six Services of different kinds, one of them without endpoints. */
function tellSix(proxier: Proxier, family: IpFamily): void {
  const [vip, pod, external] =
    family === 'IPv4' ? ['10.96.0.', '10.244.', '198.51.100.3'] : ['fd00:96::', 'fd00:244::', 'fd00:e::3'];
  const separator = family === 'IPv4' ? '.' : ':';
  const sticky = { sessionAffinity: 'ClientIP' };
  const local = { externalTrafficPolicy: 'Local', sessionAffinity: 'ClientIP' };
  const externalIPs = [external];
  const kinds = [{}, {}, sticky, { externalIPs }, {}, { ...local, externalIPs }];
  for (const [i, more] of kinds.entries()) {
    proxier.onServiceChange(`d/s${i}`, service(`${vip}${i + 1}`, more));
    const ips = Array.from({ length: i }, (_, n) => `${pod}${i}${separator}${n + 1}`);
    proxier.onSliceChange(`d/s${i}-1`, slice(`s${i}`, ips));
  }
  proxier.sourcesSynced();
}

for (const [family, table] of [
  ['IPv4', 'ip'],
  ['IPv6', 'ip6'],
] as const) {
  test(`${family}: a load that is cut off between any two transactions is completed by the next start`, async () => {
    const listed = async () => linesOf(await lab.node(`nft list table ${table} keelson`));
    const whole = newProxier(lab.exec, undefined, family);
    tellSix(whole, family);
    await whole.syncOnce('change', never);
    const wanted = await listed();
    let cuts = 0;
    for (let isCut = true; isCut; cuts++) {
      await lab.node('nft flush ruleset');
      isCut = false;
      let written = 0;
      const dying: Exec = {
        run: (file, args, options) => {
          if (args.join(' ') === '-f -') written += 1;
          if (written <= cuts) return lab.exec.run(file, args, options);
          isCut = true;
          throw new Error('killed');
        },
      };
      const first = newProxier(dying, 2, family);
      tellSix(first, family);
      await first.syncOnce('change', never).catch(() => {});
      const next = newProxier(lab.exec, 2, family);
      tellSix(next, family);
      await next.syncOnce('change', never);
      assert.deepEqual(await listed(), wanted, `cut after ${cuts}`);
    }
    assert.ok(cuts > 5, `only ${cuts} transactions`);
  });
}

test('a Service of 5,000 endpoints is carried, and loses one with few writes', async () => {
  const ips = Array.from({ length: 5_000 }, (_, i) => `10.244.${i >> 8}.${i & 255}`);
  const scripts: string[] = [];
  const exec: Exec = {
    run: (file, args, options) => {
      if (args.join(' ') === '-f -') scripts.push(options.input ?? '');
      return lab.exec.run(file, args, options);
    },
  };
  const proxier = newProxier(exec);
  proxier.onServiceChange('d/large', service('10.96.0.1'));
  proxier.onSliceChange('d/large-1', slice('large', ips));
  proxier.sourcesSynced();
  await proxier.syncOnce('change', never);
  assert.match(await lab.node('nft list chain ip keelson pick-tcp-5000'), /numgen random mod 5000/);
  assert.match(await lab.node('nft list map ip keelson endpoints-tcp'), /10\.96\.0\.1 \. 80 \. 4999 : /);
  scripts.length = 0;
  proxier.onSliceChange('d/large-1', slice('large', ips.slice(1)));
  await proxier.syncOnce('change', never);
  const [script = '', ...more] = scripts;
  assert.equal(more.length, 0);
  assert.ok(script.length < 2_000, script);
  assert.match(await lab.node('nft list map ip keelson frontends'), /10\.96\.0\.1 \. tcp \. 80 : goto pick-tcp-4999/);
});

/** Order within a listing is the kernel's hash order. */
const linesOf = (listing: string): readonly string[] =>
  listing
    .split(/[\n,]/)
    .map((line) => line.trim().replace(/^elements = \{ | \}$/g, ''))
    .filter((line) => line !== '')
    .sort();
