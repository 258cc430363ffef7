import type { Exec } from '../host/exec.ts';
import { ExecError, isProgramMissing, notFound } from '../host/exec.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { localAddresses } from './local-addresses.ts';
import type { ConntrackMetrics } from './proxy-metrics.ts';
import type { IpFamily } from './read-service.ts';
import { rangeTest } from './read-service.ts';
import { nodeAddress } from './route-services.ts';
import type { StaleFlows, TrackedFlow } from './stale-flows.ts';
import { kindOf, staleAmong } from './stale-flows.ts';

/** More than this many waiting kinds of flow: the oldest is left to its timeout (30 s for a UDP flow at rest). */
const maxWaiting = 10_000;
/** With more than this many waiting, one listing first finds out which of them have any flow at all. */
const worthListing = 16;
/** So many kinds are removed by one run of the program, which walks all flows for each. */
const kindsPerRun = 256;
/** conntrack opens its input by name, as can be done with a pipe, and not with the socket that a child process gets. */
const piped = 'cat | conntrack "$@"';
const retryMs = 1_000;
const maxTries = 3;

/** Says of a flow that there is whether it is stale. */
export type FlowTest = (flow: TrackedFlow, isNodeAddress: (ip: string) => boolean) => boolean;

export interface ConntrackCleanerOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly clock: Clock;
  readonly log: Log;
  readonly family: IpFamily;
  /** The addresses of the host that serve node ports, as CIDRs; default, and when there is none: all. */
  readonly nodePortAddresses?: () => readonly string[];
  readonly metrics?: ConntrackMetrics | undefined;
}

/**
 * EXECUTOR: removes entries of connection tracking that would keep a UDP client on an endpoint that is gone. TCP needs
 * none of this: its client notices and connects anew. Works through its queue on its own, behind the rules. A failure
 * costs only time: flows end by their timeout once their clients are at rest.
 */
export class ConntrackCleaner {
  readonly #options: ConntrackCleanerOptions;
  readonly #waiting = new Map<string, StaleFlows>();
  #tests: FlowTest[] = [];
  #wake: () => void = () => {};
  #saidMissing = false;
  /** The failure that was logged last. */
  #said = '';
  /** Versions before 1.4.7 remove one kind at a time. */
  #takesMany = true;

  constructor(options: ConntrackCleanerOptions) {
    this.#options = options;
  }

  /** Queues; call it when the rules no longer lead there. */
  remove(stale: readonly StaleFlows[]): void {
    for (const flows of stale) {
      this.#waiting.set(kindOf(flows), flows);
      if (this.#waiting.size <= maxWaiting) continue;
      for (const oldest of this.#waiting.keys()) {
        this.#waiting.delete(oldest);
        break;
      }
    }
    if (stale.length > 0) this.#wake();
  }

  /** Queues the flows that the next look finds and that the test says so of, once. */
  removeWhere(isStale: FlowTest): void {
    this.#tests.push(isStale);
    this.#wake();
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      if (this.#waiting.size + this.#tests.length > 0) await this.#pass(signal);
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { clock, family, metrics } = this.#options;
    const startedAt = clock.monotonic();
    const waiting = [...this.#waiting.values()];
    const tests = this.#tests;
    this.#waiting.clear();
    this.#tests = [];
    // By the port alone a flow to a node port cannot be told from one to another host.
    const isVague = tests.length > 0 || waiting.some(({ ip }) => ip === nodeAddress);
    const stale = isVague || waiting.length > worthListing ? await this.#find(waiting, tests, signal) : waiting;
    const count = await this.#removeAll(stale, signal);
    metrics?.deleted.add(count, family);
    metrics?.duration.observe((clock.monotonic() - startedAt) / 1000, family);
  }

  /** Which flows there are of those that are asked for; none when they cannot be listed, which has been logged. */
  async #find(
    waiting: readonly StaleFlows[],
    tests: readonly FlowTest[],
    signal: AbortSignal,
  ): Promise<readonly StaleFlows[]> {
    const { exec, family, nodePortAddresses } = this.#options;
    const listing = await this.#conntrack(['-L', ...ofFamily(family)], signal);
    if (listing === undefined || signal.aborted) return [];
    const isLocal = rangeTest(await localAddresses(exec, family, signal).catch(() => []), family);
    const served = nodePortAddresses?.() ?? [];
    const isServed = rangeTest(served, family);
    const isNodeAddress = (ip: string) => isLocal(ip) && (served.length === 0 || isServed(ip));
    const isStale = (flow: TrackedFlow) => tests.some((test) => test(flow, isNodeAddress));
    return staleAmong(flowsIn(listing), waiting, isStale, isNodeAddress);
  }

  /** Returns how many flows there were. */
  async #removeAll(stale: readonly StaleFlows[], signal: AbortSignal): Promise<number> {
    let count = 0;
    const commands = stale.map((flows) => conntrackArgs(flows, this.#options.family));
    while (commands.length > 0 && !signal.aborted) {
      const some = commands.splice(0, this.#takesMany ? kindsPerRun : 1);
      const [first = []] = some;
      const removed =
        some.length === 1
          ? await this.#conntrack(first, signal)
          : await this.#conntrack(['-R', '-'], signal, some.map((args) => `${args.join(' ')}\n`).join(''));
      if (some.length > 1 && !this.#takesMany) commands.unshift(...some);
      count += removed?.match(/^udp\s/gm)?.length ?? 0;
    }
    return count;
  }

  /** What the program printed; undefined when it failed for good, which has been logged. */
  async #conntrack(args: readonly string[], signal: AbortSignal, input?: string): Promise<string | undefined> {
    const { exec, clock, log } = this.#options;
    const options = { signal, timeoutMs: 30_000, maxOutputBytes: 256 * 1024 * 1024 };
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        if (input === undefined) return (await exec.run('conntrack', args, options)).stdout;
        return (await exec.run('sh', ['-c', piped, 'conntrack', ...args], { ...options, input })).stdout;
      } catch (error) {
        if (signal.aborted || isNothingFound(error)) return undefined;
        if (isProgramMissing(error)) return this.#sayMissing(error);
        if (isNotFoundByShell(error)) return this.#sayMissing(notFound('conntrack'));
        if (input !== undefined && isUnknownOption(error)) {
          this.#takesMany = false;
          return undefined;
        }
        if (tries < maxTries) {
          await clock.sleep(retryMs, signal).catch(() => {});
          continue;
        }
        const fields = errorFields(error);
        if (fields.err !== this.#said) {
          log.warn({ command: args.join(' '), ...fields }, 'cannot remove stale UDP flows; they end by their timeout');
        }
        this.#said = fields.err;
        return undefined;
      }
    }
    return undefined;
  }

  #sayMissing(error: unknown): undefined {
    if (this.#saidMissing) return;
    this.#saidMissing = true;
    this.#options.log.warn(
      errorFields(error),
      'UDP clients stay on endpoints that are gone until their flow times out',
    );
  }
}

const ofFamily = (family: IpFamily): readonly string[] => ['-f', family === 'IPv4' ? 'ipv4' : 'ipv6', '-p', 'udp'];

/**
 * Arguments for conntrack(8): flows sent to the virtual address whose answers come from the endpoint, or, when they
 * were never translated, would come from the virtual address itself. Not for `nodeAddress`.
 */
export function conntrackArgs(flows: StaleFlows, family: IpFamily): readonly string[] {
  const { ip, port } = flows.endpoint ?? flows;
  const to = ['--orig-dst', flows.ip, '--orig-port-dst', String(flows.port)];
  return ['-D', ...ofFamily(family), ...to, '--reply-src', ip, '--reply-port-src', String(port)];
}

/** The flows in the output of `conntrack -L`. */
export function flowsIn(output: string): readonly TrackedFlow[] {
  const line = /dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) dst=\S+ sport=(\d+) dport=\d+/gm;
  return [...output.matchAll(line)].map(([, ip = '', port, from = '', source]) => ({
    ip,
    port: Number(port),
    answersFrom: { ip: from, port: Number(source) },
  }));
}

/** conntrack exits with 1 when there was nothing to delete. */
const isNothingFound = (error: unknown): boolean =>
  error instanceof ExecError && error.exitCode === 1 && /\b0 flow entries/.test(error.stderr);

/** It exits with 2 when it does not know what it is asked for. */
const isUnknownOption = (error: unknown): boolean => error instanceof ExecError && error.exitCode === 2;

/** The shell exits with 127 when it does not find the program. */
const isNotFoundByShell = (error: unknown): boolean => error instanceof ExecError && error.exitCode === 127;
