import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { median } from './measure.ts';

/** CPU in per cent of one core. `floor`: the same requests by a bare loop over node:http, in the same run. */
export interface ProbesFigures {
  readonly perSecond: number;
  readonly cpuPercent: number;
  readonly floorPercent: number;
  readonly ratio: number;
}

export interface ProbesBenchOptions {
  readonly perSecond?: number;
  /** Rounds of both, in turn, to take the median of. */
  readonly rounds?: number;
  readonly seconds?: number;
}

/** What bench/probes-child.ts reports. */
export interface ProbesReport {
  readonly cpuPercent: number;
  readonly answered: number;
}

/** Asks a server in another process; the manager and the floor run alone in processes of their own, in turn. */
export async function benchProbes(options: ProbesBenchOptions = {}): Promise<ProbesFigures> {
  const { perSecond = 300, rounds = 3, seconds = 15 } = options;
  const server = child('server');
  try {
    const [port] = (await once(server, 'message')) as [number];
    const rows: { ours: number; floor: number }[] = [];
    for (let i = 0; i < rounds; i++) {
      const floor = await measure('floor', port, perSecond, seconds);
      const ours = await measure('manager', port, perSecond, seconds);
      rows.push({ ours, floor });
    }
    const cpuPercent = median(rows.map((r) => r.ours));
    const floorPercent = median(rows.map((r) => r.floor));
    return { perSecond, cpuPercent, floorPercent, ratio: median(rows.map((r) => r.ours / r.floor)) };
  } finally {
    server.disconnect();
  }
}

async function measure(role: string, port: number, perSecond: number, seconds: number): Promise<number> {
  const prober = child(role, port, perSecond, seconds);
  const [report] = (await once(prober, 'message')) as [ProbesReport];
  prober.disconnect();
  const expected = perSecond * seconds;
  if (report.answered < 0.97 * expected) throw new Error(`${role}: ${report.answered} of ${expected} probes succeeded`);
  return report.cpuPercent;
}

const child = (...args: readonly (string | number)[]): ChildProcess =>
  fork(fileURLToPath(new URL('./probes-child.ts', import.meta.url)), args.map(String));

export function probesTable(f: ProbesFigures): string {
  return [
    `${f.perSecond} http probes a second`,
    `${'bare node:http'.padEnd(24)}${f.floorPercent.toFixed(1).padStart(8)} % of a core`,
    `${'probe manager'.padEnd(24)}${f.cpuPercent.toFixed(1).padStart(8)} %  ${f.ratio.toFixed(2)} × floor (≤ 15 %)`,
  ].join('\n');
}
