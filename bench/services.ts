import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { machine, percentile } from './measure.ts';
import { endpointsPerService, podRange, virtualRange } from './services-objects.ts';

const run = promisify(execFile);

/** Milliseconds and MiB. `floor`: the same by the bare program of the mode, in a namespace of its own, in the same run. */
export interface ServicesFigures {
  readonly mode: string;
  readonly services: number;
  readonly endpoints: number;
  /** From both lists delivered to the last virtual address answering, and from the start of the process. */
  readonly coldMs: number;
  readonly fromStartMs: number;
  readonly coldFloorMs: number;
  /** From the API server's event to a connection through the virtual address: a new Service, other endpoints. */
  readonly added: Latency;
  readonly changed: Latency;
  readonly changeFloorMs: number;
  /** Of the process and its children, for each change. */
  readonly cpuMs: number;
  readonly rssMiB: number;
  readonly peakMiB: number;
  /** Until a connection stands: by virtual address, and straight to a pod. */
  readonly firstMs: number;
  readonly directMs: number;
  readonly restart: { readonly syncedMs: number; readonly writes: number; readonly rssMiB: number };
  readonly machine: string;
}

interface Latency {
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** What the surroundings are asked to do; each is answered. */
export type WorldTask =
  | { readonly do: 'fill'; readonly services: number }
  | { readonly do: 'await' | 'first'; readonly services: readonly number[] }
  | { readonly do: 'add'; readonly service: number }
  | { readonly do: 'change'; readonly service: number; readonly round: number };

/** Texts for the standard input of a command, or one in a file. */
export interface FloorTask {
  readonly command: readonly string[];
  readonly texts: readonly string[];
  readonly path?: string;
}

/** What the subject answers; scripts and writes since the last answer. */
export interface SubjectReport {
  readonly listedAt: number;
  readonly scripts: readonly string[];
  readonly writes: number;
  readonly problems: readonly string[];
}

interface Synced {
  readonly listedAt: number;
  readonly syncedAt: number;
}

const changes = 200;
/** How the ruleset is read and loaded by hand. */
const bare: Readonly<Record<string, { readonly dump: readonly string[]; readonly load: readonly string[] }>> = {
  nftables: { dump: ['nft', 'list', 'ruleset'], load: ['nft', '-f', '-'] },
  iptables: { dump: ['iptables-save'], load: ['iptables-restore', '--noflush'] },
};

/**
 * `--mode iptables`, `--sizes 1000,10000`. Needs root. Works in network namespaces of its own, which it removes: a node
 * with the subject, an API server and a client in it, and one that has the addresses of all pods.
 */
export async function benchServices(args: readonly string[] = []): Promise<readonly ServicesFigures[]> {
  const { values } = parseArgs({
    args: [...args],
    options: { mode: { type: 'string', default: 'nftables' }, sizes: { type: 'string' } },
  });
  const usual = values.mode === 'nftables' ? '1000,10000,40000' : '1000,10000';
  const figures: ServicesFigures[] = [];
  for (const size of (values.sizes ?? usual).split(',')) {
    await using stage = await Stage.create();
    figures.push(await measure(stage, values.mode, Number(size)));
  }
  return figures;
}

export function servicesTable(figures: readonly ServicesFigures[]): string {
  const ms = (value: number) => `${value.toFixed(value < 10 ? 2 : value < 100 ? 1 : 0)} ms`;
  const both = ({ p50Ms, p99Ms }: Latency) => `${ms(p50Ms)}, ${ms(p99Ms)}`;
  const times = (value: number, floor: number) => `x${(value / floor).toFixed(2)} of ${ms(floor)}`;
  return figures
    .map((one) => {
      const rows = [
        ['lists to the last address', ms(one.coldMs), times(one.coldMs, one.coldFloorMs)],
        ['from the start of the process', ms(one.fromStartMs), ''],
        ['new Service, p50 and p99', both(one.added), times(one.added.p50Ms, one.changeFloorMs)],
        ['other endpoints, p50 and p99', both(one.changed), times(one.changed.p50Ms, one.changeFloorMs)],
        ['CPU a change', ms(one.cpuMs), ''],
        ['RSS, peak', `${one.rssMiB.toFixed(0)} MiB, ${one.peakMiB.toFixed(0)} MiB`, ''],
        ['first packet', ms(one.firstMs), times(one.firstMs, one.directMs)],
        ['restart, in step after', `${ms(one.restart.syncedMs)}`, `${one.restart.writes} writes`],
        ['RSS after the restart', `${one.restart.rssMiB.toFixed(0)} MiB`, ''],
      ];
      const lines = rows.map(([what = '', value = '', more = '']) => `  ${what.padEnd(32)}${value.padEnd(22)}${more}`);
      return [`${one.mode}, ${one.services} Services of ${one.endpoints}`, ...lines].join('\n');
    })
    .join('\n');
}

async function measure(stage: Stage, mode: string, size: number): Promise<ServicesFigures> {
  const { world } = stage;
  await ask(world, { do: 'fill', services: size });
  const last = Array.from({ length: 20 }, (_, k) => Math.floor(((k + 1) * size) / 20) - 1);
  const spawnedAt = now();
  let subject = stage.subject(mode);
  const synced = answer<Synced>(subject);
  const answeringAt = await ask<number>(world, { do: 'await', services: last });
  const { listedAt } = await synced;
  const coldFloorMs = await stage.bareLoad(mode);
  await ask(world, { do: 'first', services: last });
  await ask<SubjectReport>(subject, 'report');
  const cpuBefore = cpuOf(subject);
  const added: number[] = [];
  const changed: number[] = [];
  for (let k = 0; k < changes; k++) {
    const service = (k * 379) % size;
    changed.push(await ask<number>(world, { do: 'change', service, round: 1 }));
    // One change, and not several that come together.
    await delay(30);
    added.push(await ask<number>(world, { do: 'add', service: size + k }));
    await delay(30);
  }
  const cpuMs = (cpuOf(subject) - cpuBefore) / (2 * changes);
  const { scripts, problems } = await ask<SubjectReport>(subject, 'report');
  if (problems.length > 0) throw new Error(problems.join('\n'));
  const changeFloorMs = await stage.bareChanges(mode, scripts);
  const memory = memoryOf(subject);
  const all = Array.from({ length: 500 }, (_, k) => Math.floor((k * size) / 500)).filter((i) => i % 379 !== 0);
  const first = await ask<{ virtual: number[]; direct: number[] }>(world, { do: 'first', services: all });
  await ended(subject);
  const restartedAt = now();
  subject = stage.subject(mode);
  const again = await answer<Synced>(subject);
  const { writes } = await ask<SubjectReport>(subject, 'report');
  return {
    ...{ mode, services: size, endpoints: endpointsPerService },
    ...{ coldMs: answeringAt - listedAt, fromStartMs: answeringAt - spawnedAt, coldFloorMs },
    ...{ added: latency(added), changed: latency(changed), changeFloorMs, cpuMs },
    ...{ rssMiB: memory.rssMiB, peakMiB: memory.peakMiB },
    ...{ firstMs: percentile(first.virtual, 0.5), directMs: percentile(first.direct, 0.5) },
    restart: { syncedMs: again.syncedAt - restartedAt, writes, rssMiB: memoryOf(subject).rssMiB },
    machine: machine(),
  };
}

const latency = (values: readonly number[]): Latency => ({
  p50Ms: percentile(values, 0.5),
  p99Ms: percentile(values, 0.99),
});

/** The namespaces and processes of one measurement. */
class Stage {
  readonly world: ChildProcess;
  readonly #floor: ChildProcess;
  readonly #dir: string;
  readonly #prefix: string;
  readonly #kubeconfig: string;
  readonly #children: ChildProcess[];

  private constructor(
    dir: string,
    prefix: string,
    kubeconfig: string,
    children: Readonly<Record<'world' | 'server' | 'floor', ChildProcess>>,
  ) {
    this.#dir = dir;
    this.#prefix = prefix;
    this.#kubeconfig = kubeconfig;
    this.#children = Object.values(children);
    this.world = children.world;
    this.#floor = children.floor;
  }

  static async create(): Promise<Stage> {
    const prefix = `ksb${process.pid}`;
    const dir = await mkdtemp(join(tmpdir(), 'keelson-bench-'));
    const [node, pods, floor] = [`${prefix}-node`, `${prefix}-pods`, `${prefix}-floor`];
    try {
      for (const name of [node, pods, floor]) await run('ip', ['netns', 'add', name]);
      for (const name of [node, pods]) await run('ip', ['-n', name, 'link', 'set', 'lo', 'up']);
      const veth = ['link', 'add', 'pods0', 'type', 'veth', 'peer', 'name', 'node0', 'netns', pods];
      await run('ip', ['-n', node, ...veth]);
      for (const [name, link, ip] of [
        [node, 'pods0', '192.0.2.1'],
        [pods, 'node0', '192.0.2.2'],
      ] as const) {
        await run('ip', ['-n', name, 'addr', 'add', `${ip}/24`, 'dev', link]);
        await run('ip', ['-n', name, 'link', 'set', link, 'up']);
      }
      // An address that no rule leads elsewhere ends there too, and is refused at once.
      for (const range of [podRange, virtualRange]) {
        await run('ip', ['-n', node, 'route', 'add', range, 'via', '192.0.2.2']);
        await run('ip', ['-n', pods, 'route', 'add', 'local', range, 'dev', 'lo']);
      }
      const server = child(pods, [], './services-pods.ts');
      const world = child(node, [], './services-world.ts', dir);
      const bareRunner = child(floor, [], './services-floor.ts');
      const [kubeconfig] = await Promise.all([answer<string>(world), answer(server), answer(bareRunner)]);
      return new Stage(dir, prefix, kubeconfig, { world, server, floor: bareRunner });
    } catch (error) {
      await removeNamespaces(prefix);
      throw error;
    }
  }

  /** With the flags that the daemon is started with. */
  subject(mode: string): ChildProcess {
    const one = child(`${this.#prefix}-node`, daemonFlags(), './services-subject.ts', this.#kubeconfig, mode);
    this.#children.push(one);
    return one;
  }

  /** How long the bare program takes for all that the subject has made. */
  async bareLoad(mode: string): Promise<number> {
    const path = join(this.#dir, 'ruleset');
    const dump = (bare[mode]?.dump ?? []).join(' ');
    await run('sh', ['-c', `ip netns exec ${this.#prefix}-node ${dump} > ${path}`]);
    const command = bare[mode]?.load ?? [];
    const [took = Number.NaN] = await ask<number[]>(this.#floor, { command, texts: [], path });
    return took;
  }

  /** Runs what the subject has run for changes, one by one; the median. */
  async bareChanges(mode: string, texts: readonly string[]): Promise<number> {
    return percentile(await ask<number[]>(this.#floor, { command: bare[mode]?.load ?? [], texts }), 0.5);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#children.map(ended));
    await removeNamespaces(this.#prefix);
    await rm(this.#dir, { recursive: true });
  }
}

async function removeNamespaces(prefix: string): Promise<void> {
  for (const name of ['node', 'pods', 'floor']) await run('ip', ['netns', 'del', `${prefix}-${name}`]).catch(() => {});
}

/** A file of the bench as a process in a namespace, with a channel to it. */
const child = (namespace: string, flags: readonly string[], file: string, ...args: readonly string[]): ChildProcess =>
  fork(fileURLToPath(new URL(file, import.meta.url)), args, {
    execPath: 'ip',
    execArgv: ['netns', 'exec', namespace, process.execPath, ...flags, '--disable-warning=ExperimentalWarning'],
    env: { ...process.env, MALLOC_ARENA_MAX: '2' },
  });

/** As bin/keelson has them. */
function daemonFlags(): readonly string[] {
  const text = readFileSync(new URL('../bin/keelson', import.meta.url), 'utf8');
  const [, flags = ''] = /^exec "\$node" (.*) "\$main"/m.exec(text) ?? [];
  return flags.split(' ').filter((flag) => flag !== '' && !flag.includes('disable-warning'));
}

/** Sends one message and waits for one. */
async function ask<R>(process: ChildProcess, message: WorldTask | FloorTask | 'report'): Promise<R> {
  process.send(message);
  return answer<R>(process);
}

async function answer<R>(process: ChildProcess): Promise<R> {
  const over = new AbortController();
  const { signal } = over;
  try {
    const gone = once(process, 'exit', { signal }).then(([code]) => {
      throw new Error(`a process of the bench ended with ${code}`);
    });
    const [message] = (await Promise.race([once(process, 'message', { signal }), gone])) as [R];
    return message;
  } finally {
    over.abort();
  }
}

async function ended(process: ChildProcess): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const exit = once(process, 'exit');
  process.kill('SIGKILL');
  await exit;
}

const now = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;

/** Milliseconds of processor time of a process and of its children that have ended. */
function cpuOf({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) * 10;
}

function memoryOf({ pid }: ChildProcess): { readonly rssMiB: number; readonly peakMiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const of = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024;
  return { rssMiB: of('VmRSS'), peakMiB: of('VmHWM') };
}
