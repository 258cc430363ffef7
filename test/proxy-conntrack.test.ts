import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Exec } from '../src/host/exec.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import { ConntrackCleaner } from '../src/proxy/conntrack.ts';
import type { StaleFlows } from '../src/proxy/stale-flows.ts';
import { Lab } from './proxy-lab.ts';

/** Flows in the kernel of a node's namespace, removed by the real conntrack(8). */

let lab: Lab;
before(async () => {
  lab = await Lab.create();
});
after(() => lab?.[Symbol.asyncDispose]());

const kind = (number: number): StaleFlows => ({
  ip: `10.96.0.${number}`,
  port: 53,
  endpoint: { ip: `10.244.0.${number}`, port: 5353 },
});

test('several kinds of flow are removed by one run, exactly those', async () => {
  for (const number of [1, 2, 3]) {
    const { ip, endpoint } = kind(number);
    const client = '10.244.1.9';
    const there = `-s ${client} -d ${ip} --sport ${1000 + number} --dport 53`;
    const back = `-r ${endpoint?.ip} -q ${client} --reply-port-src 5353 --reply-port-dst ${1000 + number}`;
    await lab.node(`conntrack -I -p udp ${there} ${back} -t 100`);
  }
  const stop = new AbortController();
  const ran: string[] = [];
  const exec: Exec = {
    run: async (file, args, options) => {
      ran.push(args.at(-2) ?? file);
      return await lab.exec.run(file, args, options).finally(() => stop.abort());
    },
  };
  const cleaner = new ConntrackCleaner({ exec, clock: systemClock, log: silentLog, family: 'IPv4' });
  cleaner.remove([kind(1), kind(9), kind(3)]);
  await cleaner.run(stop.signal);
  assert.deepEqual(ran, ['-R']);
  const left = await lab.node('conntrack -L -f ipv4 -p udp');
  assert.deepEqual(left.match(/dst=10\.96\.0\.\d/g), ['dst=10.96.0.2']);
});
