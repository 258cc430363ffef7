import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Service } from '../src/api/core-v1.ts';
import type { EndpointSlice } from '../src/api/discovery-v1.ts';
import { serviceNameLabel } from '../src/api/discovery-v1.ts';
import type { Exec } from '../src/host/exec.ts';
import { notFound } from '../src/host/exec.ts';
import type { Follow } from '../src/host/follow-program.ts';
import { systemClock } from '../src/lib/clock.ts';
import type { Log } from '../src/lib/log.ts';
import { silentLog } from '../src/lib/log.ts';
import { NftBackend } from '../src/proxy/nftables/nft-backend.ts';
import { RulesetWatch } from '../src/proxy/nftables/ruleset-watch.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import { Lab } from './proxy-lab.ts';

/** Changes by other programs, noticed by what really follows the kernel's ruleset. */

const vip = '10.96.0.9';
const port = { name: 'web', port: 80, protocol: 'TCP' } as const;
const service = (ip: string): Service => ({ metadata: { name: 'x' }, spec: { clusterIP: ip, ports: [port] } });
const slice = (name: string, ...ips: string[]): EndpointSlice => ({
  metadata: { name: `${name}-1`, namespace: 'd', labels: { [serviceNameLabel]: name } },
  addressType: 'IPv4',
  endpoints: ips.map((ip) => ({ addresses: [ip], nodeName: 'node' })),
  ports: [{ ...port, port: 8080 }],
});

/** A promise for each of several things that happen again and again: made before what brings it about. */
class Occasions {
  readonly #waiting = new Map<string, () => void>();
  next(what: string): Promise<void> {
    return new Promise((resolve) => this.#waiting.set(what, resolve));
  }
  happened(what: string): void {
    const resolve = this.#waiting.get(what);
    this.#waiting.delete(what);
    resolve?.();
  }
}

for (const program of ['xtables-monitor', 'nft monitor']) {
  describe(program, () => {
    const stop = new AbortController();
    const occasions = new Occasions();
    const lists: string[] = [];
    const warned: string[] = [];
    let lab: Lab;
    let proxier: Proxier;
    let running: Promise<void>;

    before(async () => {
      lab = await Lab.create();
      let heard = 0;
      const follow: Follow = async (file, args, options) => {
        if (file !== 'nft' && program === 'nft monitor') throw notFound(file);
        const onLine = (line: string) => {
          heard += 1;
          options.onLine(line);
          occasions.happened('heard');
        };
        await lab.follow(file, args, { ...options, onLine });
      };
      const exec: Exec = {
        run: async (file, args, options) => {
          const command = args.join(' ');
          if (command.startsWith('-j list table')) lists.push(command);
          const result = await lab.exec.run(file, args, options);
          if (command.startsWith('--check')) occasions.happened('looked');
          if (command === '-f -') occasions.happened('written');
          return result;
        },
      };
      const log: Log = {
        ...silentLog,
        warn: (_, message) => {
          warned.push(message);
          occasions.happened('repaired');
        },
      };
      const watch = new RulesetWatch({ follow, clock: systemClock, log });
      const settings = { masqueradeAll: false, clusterCidrs: ['10.244.0.0/16'], masqueradeBit: 14, nodeName: 'node' };
      const backend = new NftBackend({ exec, log, watch });
      proxier = new Proxier({ ...settings, exec, clock: systemClock, log, backend });
      proxier.onServiceChange('d/web', service(vip));
      proxier.onSliceChange('d/web-1', slice('web', '10.244.0.1', '10.244.0.2'));
      proxier.sourcesSynced();
      const looked = occasions.next('looked');
      running = proxier.run(stop.signal);
      await proxier.synced;
      // There is no telling when it listens but that it is heard; only what changes something is told.
      while (heard === 0) await lab.node('nft add table ip somebody ; delete table ip somebody');
      await looked;
    });
    after(async () => {
      stop.abort();
      await running;
      await lab?.[Symbol.asyncDispose]();
    });

    const listed = async () => linesOf(await lab.node('nft list table ip keelson'));

    /** Whatever was to be heard until now has been, and has had its consequences. */
    async function settled(): Promise<void> {
      let isOver = false;
      const looked = occasions.next('looked').then(() => {
        isOver = true;
      });
      // Again and again, as the program may just have been started anew.
      while (!isOver) await lab.node('nft add table ip marker ; delete table ip marker');
      await looked;
    }

    for (const damage of [
      'nft flush ruleset',
      'nft delete table ip keelson',
      'nft flush chain ip keelson prerouting',
      'nft flush map ip keelson frontends',
      'nft flush map ip keelson endpoints-tcp',
      'nft flush set ip keelson hairpins',
      `nft delete element ip keelson endpoints-tcp { ${vip} . 80 . 1 }`,
      'nft add rule ip keelson output drop',
      ...(program === 'nft monitor' ? ['nft add element ip keelson hairpins { 10.1.1.1 . 10.2.2.2 }'] : []),
    ]) {
      test(`repaired at once, and said once: ${damage}`, async () => {
        const wanted = await listed();
        const repaired = occasions.next('repaired');
        warned.length = 0;
        await lab.node(damage);
        await repaired;
        assert.deepEqual(await listed(), wanted);
        assert.deepEqual(warned, ['another program changed the ruleset; repaired']);
      });
    }

    test('our own changes, of elements and of chains, are not taken for somebody else’s', async () => {
      lists.length = 0;
      const counts = [1, 2, 3, 2, 5, 4, 3, 1, 2, 6, 2];
      for (const count of counts) {
        const written = occasions.next('written');
        proxier.onSliceChange('d/web-1', slice('web', ...Array.from({ length: count }, (_, n) => `10.244.0.${n + 1}`)));
        await written;
      }
      await settled();
      assert.deepEqual(lists, []);
    });

    test('what others do to their own tables costs no reading of ours', async () => {
      lists.length = 0;
      for (const command of ['add table ip other', 'add set ip other s { type ipv4_addr ; }', 'add chain ip other c']) {
        await lab.node(`nft ${command}`);
      }
      for (let i = 0; i < 20; i++) await lab.node(`nft add element ip other s { 10.0.0.${i} }`);
      await settled();
      assert.deepEqual(lists, []);
    });
  });
}

/** Order within a listing is the kernel's hash order. */
const linesOf = (listing: string): readonly string[] =>
  listing
    .split(/[\n,]/)
    .map((line) => line.trim().replace(/^elements = \{ | \}$/g, ''))
    .filter((line) => line !== '')
    .sort();
