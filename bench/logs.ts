import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { get } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { machine, median, percentile } from './measure.ts';

/**
 * What a reader of one container's log gets. MB (10^6 bytes) a second as they arrive, of lines with `lineBytes` of
 * words; `cpu`: of the serving process, in milliseconds for each 100 MB that arrive. `floor`: the same file through
 * the same TLS server as it is, in the same run. Latency: from a line's writing to its arrival, milliseconds.
 */
export interface LogsFigures {
  readonly lineBytes: number;
  readonly mbPerS: number;
  readonly stampedMbPerS: number;
  readonly floorMbPerS: number;
  readonly cpuMs: number;
  readonly floorCpuMs: number;
  readonly latencyP50Ms: number;
  readonly latencyP99Ms: number;
  readonly machine: string;
}

export interface LogsBenchOptions {
  readonly megabytes?: number;
  readonly lineBytes?: number;
  /** Rounds of all, in turn, to take the median of. */
  readonly rounds?: number;
  readonly followedLines?: number;
}

export async function benchLogs(options: LogsBenchOptions = {}): Promise<LogsFigures> {
  const { megabytes = 400, lineBytes = 100, rounds = 3, followedLines = 2000 } = options;
  const dir = mkdtempSync(join(tmpdir(), 'bench-logs-'));
  const folder = join(dir, 'default_p_u1', 'c');
  mkdirSync(folder, { recursive: true });
  const file = join(folder, '0.log');
  writeLog(file, megabytes, lineBytes);
  const server = fork(fileURLToPath(new URL('./logs-child.ts', import.meta.url)), [dir]);
  try {
    const [port] = (await once(server, 'message')) as [number];
    const rows: { floor: Flow; ours: Flow; stamped: Flow }[] = [];
    for (let i = 0; i < rounds; i++) {
      const floor = await measure(server, port, '/floor');
      const ours = await measure(server, port, '/containerLogs/default/p/c');
      rows.push({ floor, ours, stamped: await measure(server, port, '/containerLogs/default/p/c?timestamps=true') });
    }
    writeFileSync(file, '');
    const latencies = await follow(port, file, followedLines);
    return {
      lineBytes,
      mbPerS: median(rows.map((r) => r.ours.mbPerS)),
      stampedMbPerS: median(rows.map((r) => r.stamped.mbPerS)),
      floorMbPerS: median(rows.map((r) => r.floor.mbPerS)),
      cpuMs: median(rows.map((r) => r.ours.cpuMs)),
      floorCpuMs: median(rows.map((r) => r.floor.cpuMs)),
      latencyP50Ms: percentile(latencies, 0.5),
      latencyP99Ms: percentile(latencies, 0.99),
      machine: machine(),
    };
  } finally {
    server.disconnect();
    rmSync(dir, { recursive: true });
  }
}

function writeLog(path: string, megabytes: number, lineBytes: number): void {
  const line = `${new Date(0).toISOString().replace('Z', '123456Z')} stdout F ${'x'.repeat(lineBytes - 1)}\n`;
  const block = Buffer.from(line.repeat(Math.ceil(2 ** 20 / line.length)));
  const file = openSync(path, 'w');
  for (let written = 0; written < megabytes * 1e6; written += block.length) writeSync(file, block);
  closeSync(file);
}

interface Flow {
  readonly mbPerS: number;
  readonly cpuMs: number;
}

async function measure(server: ChildProcess, port: number, path: string): Promise<Flow> {
  const cpu = async () => {
    server.send('cpu');
    return ((await once(server, 'message')) as [number])[0];
  };
  const before = await cpu();
  const begin = performance.now();
  const response = await ask(port, path);
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) bytes += chunk.length;
  const seconds = (performance.now() - begin) / 1000;
  if (bytes < 1e6) throw new Error(`${path}: only ${bytes} bytes came`);
  return { mbPerS: bytes / 1e6 / seconds, cpuMs: ((await cpu()) - before) / (bytes / 1e8) };
}

function ask(port: number, path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, rejectUnauthorized: false, agent: false }, (response) => {
      if (response.statusCode === 200) resolve(response);
      else reject(new Error(`${path}: ${response.statusCode}`));
    }).once('error', reject);
  });
}

/** Writes a line every few milliseconds, and hears of it through a follower. */
async function follow(port: number, file: string, lines: number): Promise<number[]> {
  const response = await ask(port, '/containerLogs/default/p/c?follow=true');
  const sentAt: number[] = [];
  const latencies: number[] = [];
  const heard = Promise.withResolvers<void>();
  response.setEncoding('utf8').on('data', (text: string) => {
    const now = performance.now();
    for (const number of text.split('\n').filter(Boolean)) latencies.push(now - (sentAt[Number(number)] ?? 0));
    if (latencies.length === lines) heard.resolve();
  });
  for (let i = 0; i < lines; i++) {
    const time = new Date().toISOString();
    sentAt.push(performance.now());
    appendFileSync(file, `${time} stdout F ${i}\n`);
    await delay(3);
  }
  await heard.promise;
  response.destroy();
  return latencies;
}

export function logsTable(f: LogsFigures): string {
  const row = (name: string, mb: number, cpu?: number, more = '') =>
    `${name.padEnd(28)}${mb.toFixed(0).padStart(6)} MB/s${cpu === undefined ? '' : `  ${cpu.toFixed(0).padStart(5)} ms CPU per 100 MB`}${more}`;
  return [
    `one reader of a log with lines of ${f.lineBytes} bytes, over TLS`,
    row('the file as it is', f.floorMbPerS, f.floorCpuMs),
    row('the log', f.mbPerS, f.cpuMs, '  (≥ 80 MB/s)'),
    row('with timestamps', f.stampedMbPerS),
    `a line heard by a follower after ${f.latencyP50Ms.toFixed(2)} ms (p50), ${f.latencyP99Ms.toFixed(2)} ms (p99, ≤ 20)`,
  ].join('\n');
}
