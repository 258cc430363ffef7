import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { Lab } from '../test/proxy-lab.ts';
import { machine, percentile } from './measure.ts';

/** Milliseconds. `floor`: the same deletions by bare runs of `nft -f`, in a namespace of its own, in the same run. */
export interface WithdrawFigures {
  readonly services: number;
  readonly withdrawals: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly floorP50Ms: number;
  readonly floorP99Ms: number;
  readonly machine: string;
}

/** What bench/withdraw-child.ts is told on its standard input. */
export type WithdrawTask =
  | { readonly role: 'subject'; readonly services: number; readonly withdrawals: number }
  | { readonly role: 'floor'; readonly scripts: readonly WithdrawScript[] };

/** What nft was given; `withdraws` are those that took a pod out of the rules. */
export interface WithdrawScript {
  readonly input: string;
  readonly withdraws: boolean;
}

/** What it prints. */
export interface WithdrawReport {
  readonly ms: readonly number[];
  readonly scripts: readonly WithdrawScript[];
}

/**
 * From a readiness probe's bad answer to the kernel leading nobody to the pod, on a node with 110 pods of which some
 * answer well and badly in turn. Needs root; works in network namespaces of its own.
 */
export async function benchWithdraw(services = 1_000, withdrawals = 200): Promise<WithdrawFigures> {
  await using lab = await Lab.create();
  const [here, there] = [await lab.namespace('subject'), await lab.namespace('floor')];
  const subject = await child(here, { role: 'subject', services, withdrawals });
  const floor = await child(there, { role: 'floor', scripts: subject.scripts });
  return {
    ...{ services, withdrawals: subject.ms.length },
    ...{ p50Ms: percentile(subject.ms, 0.5), p99Ms: percentile(subject.ms, 0.99) },
    ...{ floorP50Ms: percentile(floor.ms, 0.5), floorP99Ms: percentile(floor.ms, 0.99) },
    machine: machine(),
  };
}

async function child(namespace: string, task: WithdrawTask): Promise<WithdrawReport> {
  const script = fileURLToPath(new URL('./withdraw-child.ts', import.meta.url));
  const process_ = spawn('ip', ['netns', 'exec', namespace, process.execPath, script], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  process_.stdin.end(JSON.stringify(task));
  return JSON.parse(await text(process_.stdout)) as WithdrawReport;
}

export function withdrawTable(f: WithdrawFigures): string {
  const row = (what: string, p50: number, p99: number, aim = '') =>
    `${what.padEnd(32)}${p50.toFixed(1).padStart(8)} ms p50 ${p99.toFixed(1).padStart(8)} ms p99${aim}`;
  return [
    `${f.withdrawals} pods that fail their probe, ${f.services} Services`,
    row('bare nft -f', f.floorP50Ms, f.floorP99Ms),
    row('probe result → out of the rules', f.p50Ms, f.p99Ms, ' (≤ 50 ms)'),
  ].join('\n');
}
