import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exec } from '../host/exec.ts';
import { ExecError, notFound } from '../host/exec.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import { Registry } from '../lib/metrics.ts';
import { sampleOf } from '../testing/sample-of.ts';
import { ConntrackCleaner, conntrackArgs, flowsIn } from './conntrack.ts';
import { proxyMetrics } from './proxy-metrics.ts';
import type { StaleFlows } from './stale-flows.ts';

test('only flows from the virtual address to that endpoint are named', () => {
  assert.equal(
    conntrackArgs({ ip: '10.96.0.10', port: 53, endpoint: { ip: '10.244.0.5', port: 5353 } }, 'IPv4').join(' '),
    '-D -f ipv4 -p udp --orig-dst 10.96.0.10 --orig-port-dst 53 --reply-src 10.244.0.5 --reply-port-src 5353',
  );
});

test('flows that were never translated are those that the virtual address itself would answer', () => {
  assert.match(
    conntrackArgs({ ip: '10.96.0.10', port: 53, endpoint: undefined }, 'IPv4').join(' '),
    /--reply-src 10\.96\.0\.10 --reply-port-src 53$/,
  );
});

test('flows are read from a listing', () => {
  const listing = `udp      17 29 src=10.244.0.9 dst=10.96.0.10 sport=47419 dport=53 [UNREPLIED] src=10.244.0.5 dst=10.244.0.9 sport=5353 dport=47419 mark=0 use=1
udp      17 100 src=10.244.0.9 dst=10.96.0.11 sport=5000 dport=54 src=10.96.0.11 dst=10.244.0.9 sport=54 dport=5000 [ASSURED] mark=0 use=1
`;
  assert.deepEqual(flowsIn(listing), [
    { ip: '10.96.0.10', port: 53, answersFrom: { ip: '10.244.0.5', port: 5353 } },
    { ip: '10.96.0.11', port: 54, answersFrom: { ip: '10.96.0.11', port: 54 } },
  ]);
});

/** A flow of one client: sent to `to`, answered from `from`. */
const line = (client: string, to: string, port: number, from: string, source: number): string =>
  `udp 17 29 src=${client} dst=${to} sport=999 dport=${port} src=${from} dst=${client} sport=${source} dport=999 use=1`;

/** The kernel's table of flows, as conntrack(8) shows and changes it. */
class FlowTable {
  lines: string[];
  readonly ran: string[] = [];
  /** Before 1.4.7 there is no `-R`. */
  isOld = false;
  isMissing = false;

  constructor(...lines: readonly string[]) {
    this.lines = [...lines];
  }

  get exec(): Pick<Exec, 'run'> {
    return {
      run: async (file, args, options) => {
        if (file === 'ip') return { stdout: 'local 127.0.0.0/8 dev lo\nlocal 192.0.2.1 dev eth0\n', stderr: '' };
        const isLoaded = file === 'sh';
        this.ran.push(isLoaded ? '-R -' : args.join(' '));
        if (this.isMissing) throw isLoaded ? failed(127, 'conntrack: not found') : notFound(file);
        const said = args[0] === '-L' ? this.lines : isLoaded ? this.#load(options.input ?? '') : this.#drop(args);
        if (args[0] === '-D' && said.length === 0) throw failed(1, '0 flow entries have been deleted');
        return { stdout: said.map((one) => `${one}\n`).join(''), stderr: '' };
      },
    };
  }

  #load(input: string): readonly string[] {
    if (this.isOld) throw failed(2, 'unknown option');
    return input
      .trim()
      .split('\n')
      .flatMap((command) => this.#drop(command.split(' ')));
  }

  #drop(args: readonly string[]): readonly string[] {
    const of = (option: string) => args[args.indexOf(option) + 1];
    const to = `dst=${of('--orig-dst')} sport=999 dport=${of('--orig-port-dst')} `;
    const from = new RegExp(` src=${of('--reply-src')} dst=\\S+ sport=${of('--reply-port-src')} `);
    const gone = this.lines.filter((one) => one.includes(to) && from.test(one));
    this.lines = this.lines.filter((one) => !gone.includes(one));
    return gone;
  }
}

const failed = (exitCode: number, stderr: string): ExecError =>
  new ExecError('conntrack', 'failed', { code: 'ExecFailed', exitCode, stderr, timedOut: false });

/** Lets a cleaner work off what `fill` gives it. */
async function clean(table: FlowTable, fill: (cleaner: ConntrackCleaner) => void, more: object = {}): Promise<void> {
  const cleaner = new ConntrackCleaner({
    ...{ exec: table.exec, clock: new FakeClock(), log: silentLog, family: 'IPv4', ...more },
  });
  const stop = new AbortController();
  fill(cleaner);
  const done = cleaner.run(stop.signal);
  for (let i = 0; i < 2; i++) await new Promise<void>((resolve) => setImmediate(resolve));
  stop.abort();
  await done;
}

const nodePort = (endpoint: StaleFlows['endpoint']): StaleFlows => ({ ip: '*', port: 30_053, endpoint });

test('a node port that gets endpoints costs no flow to that port of another host', async () => {
  const elsewhere = [
    line('10.244.0.9', '198.51.100.1', 30_053, '198.51.100.1', 30_053),
    line('10.244.0.9', '198.51.100.2', 30_053, '10.244.0.5', 5353),
    line('10.244.0.9', '192.0.2.1', 30_054, '192.0.2.1', 30_054),
  ];
  const table = new FlowTable(
    ...elsewhere,
    line('10.244.0.9', '192.0.2.1', 30_053, '192.0.2.1', 30_053),
    line('127.0.0.1', '127.0.0.9', 30_053, '127.0.0.9', 30_053),
    line('198.51.100.3', '192.0.2.1', 30_053, '10.244.0.5', 5353),
  );
  const gone = { ip: '10.244.0.5', port: 5353 };
  await clean(table, (cleaner) => cleaner.remove([nodePort(undefined), nodePort(gone)]));
  assert.deepEqual(table.lines, elsewhere);
  assert.deepEqual(table.ran, ['-L -f ipv4 -p udp', '-R -']);
});

test('a flow to an address that serves no node port is left alone', async () => {
  const table = new FlowTable(
    line('127.0.0.1', '127.0.0.1', 30_053, '127.0.0.1', 30_053),
    line('10.244.0.9', '192.0.2.1', 30_053, '192.0.2.1', 30_053),
  );
  const nodePortAddresses = () => ['192.0.2.0/24'];
  await clean(table, (cleaner) => cleaner.remove([nodePort(undefined)]), { nodePortAddresses });
  assert.deepEqual(table.lines, [line('127.0.0.1', '127.0.0.1', 30_053, '127.0.0.1', 30_053)]);
});

const many = (count: number): readonly StaleFlows[] =>
  Array.from({ length: count }, (_, i) => ({
    ip: `10.96.0.${i}`,
    port: 53,
    endpoint: { ip: '10.244.0.5', port: 5353 },
  }));
const flowsOf = (stale: readonly StaleFlows[]) => stale.map(({ ip }) => line('10.244.0.9', ip, 53, '10.244.0.5', 5353));

test('many kinds take one run of the program, counted by what it removed', async () => {
  const registry = new Registry();
  const metrics = proxyMetrics(registry).conntrack;
  const stale = many(100);
  const table = new FlowTable(...flowsOf(stale.slice(0, 40)));
  await clean(table, (cleaner) => cleaner.remove(stale), { metrics });
  assert.deepEqual(table.lines, []);
  assert.deepEqual(table.ran, ['-L -f ipv4 -p udp', '-R -']);
  const text = await registry.text();
  assert.equal(sampleOf(text, 'kubeproxy_conntrack_reconciler_deleted_entries_total{ip_family="IPv4"}'), 40);
  assert.equal(sampleOf(text, 'kubeproxy_conntrack_reconciler_sync_duration_seconds_count{ip_family="IPv4"}'), 1);
});

test('a version that takes one kind at a time is given one at a time', async () => {
  const stale = many(3);
  const table = new FlowTable(...flowsOf(stale.slice(1)));
  table.isOld = true;
  await clean(table, (cleaner) => cleaner.remove(stale));
  assert.deepEqual(table.lines, []);
  assert.equal(table.ran.filter((one) => one.startsWith('-D')).length, 3);
});

test('without the program that is said once', async () => {
  const said: string[] = [];
  const log: Log = { ...silentLog, warn: (_, message) => said.push(message) };
  const table = new FlowTable();
  table.isMissing = true;
  const again = (cleaner: ConntrackCleaner) => setImmediate(() => cleaner.remove(many(2)));
  await clean(table, (cleaner) => again(cleaner) && cleaner.remove(many(1)), { log });
  assert.equal(table.ran.length, 2);
  assert.deepEqual(said, ['UDP clients stay on endpoints that are gone until their flow times out']);
});
