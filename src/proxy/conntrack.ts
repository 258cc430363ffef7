import { networkInterfaces } from 'node:os';
import type { Exec } from '../host/exec.ts';
import { ExecError, isProgramMissing } from '../host/exec.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Route } from './route-services.ts';
import { nodeAddress } from './route-services.ts';
import type { StaleFlows, TrackedFlow } from './stale-flows.ts';
import { staleAmong } from './stale-flows.ts';

/** More than this many waiting kinds of flow: the oldest is left to its timeout (30 s for a UDP flow at rest). */
const maxWaiting = 10_000;
/** With more than this many waiting, one listing first finds out which of them have any flow at all. */
const worthListing = 16;
const retryMs = 1_000;
const maxTries = 3;

/**
 * EXECUTOR: removes entries of connection tracking that would keep a UDP client on an endpoint that is gone. TCP needs
 * none of this: its client notices and connects anew. Works through its queue on its own, behind the rules.
 */
export class ConntrackCleaner {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #family: 'ipv4' | 'ipv6';
  readonly #waiting = new Map<string, StaleFlows>();
  #wake: () => void = () => {};
  /** How many came since the last listing. */
  #unlisted = 0;
  #saidMissing = false;

  constructor(options: { exec: Pick<Exec, 'run'>; clock: Clock; log: Log; family: 'ipv4' | 'ipv6' }) {
    this.#exec = options.exec;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#family = options.family;
  }

  /** Queues; call it when the rules no longer lead there. */
  remove(stale: readonly StaleFlows[]): void {
    this.#unlisted += stale.length;
    for (const flows of stale) {
      this.#waiting.set(destinationOf(flows), flows);
      if (this.#waiting.size <= maxWaiting) continue;
      for (const oldest of this.#waiting.keys()) {
        this.#waiting.delete(oldest);
        break;
      }
    }
    this.#wake();
  }

  /** Queues what a start finds and `routeOf` does not lead to. A failure costs only time. */
  async removeUnrouted(routeOf: (ip: string, port: number) => Route | undefined, signal: AbortSignal): Promise<void> {
    const flows = (await this.#list(signal)) ?? [];
    this.remove(staleAmong(flows, routeOf, hostAddresses()));
  }

  /** Queues the flows that there are now and `isStale` says so of. A failure costs only time. */
  async removeWhere(isStale: (flow: TrackedFlow) => boolean, signal: AbortSignal): Promise<void> {
    const flows = (await this.#list(signal)) ?? [];
    this.remove(flows.filter(isStale).map(({ ip, port, answersFrom }) => ({ ip, port, endpoint: answersFrom })));
  }

  async run(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    while (!signal.aborted) {
      if (this.#unlisted > worthListing) await this.#dropIdle(signal);
      const [next] = this.#waiting;
      if (next) {
        this.#waiting.delete(next[0]);
        await this.#delete(next[1], signal);
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }

  /** Forgets what has no flow, of a number too large to ask for one by one. A failure costs only time. */
  async #dropIdle(signal: AbortSignal): Promise<void> {
    const asked = [...this.#waiting.keys()];
    this.#unlisted = 0;
    const flows = await this.#list(signal);
    if (!flows) return;
    const found = new Set(flows.flatMap(destinationsOf));
    for (const key of asked) {
      const stale = this.#waiting.get(key);
      if (stale && !found.has(key)) this.#waiting.delete(key);
    }
  }

  /** All UDP flows; undefined when they cannot be had, which has been logged. */
  async #list(signal: AbortSignal): Promise<readonly TrackedFlow[] | undefined> {
    try {
      const options = { signal, timeoutMs: 30_000, maxOutputBytes: 256 * 1024 * 1024 };
      return flowsIn((await this.#exec.run('conntrack', ['-L', '-f', this.#family, '-p', 'udp'], options)).stdout);
    } catch (error) {
      if (signal.aborted) return undefined;
      if (isProgramMissing(error)) this.#sayMissing(error);
      else this.#log.debug(errorFields(error), 'cannot list UDP flows');
      return undefined;
    }
  }

  async #delete(flows: StaleFlows, signal: AbortSignal): Promise<void> {
    for (let tries = 1; !signal.aborted; tries++) {
      try {
        await this.#exec.run('conntrack', conntrackArgs(flows, this.#family), { signal, timeoutMs: 10_000 });
        return;
      } catch (error) {
        if (signal.aborted || isNothingFound(error)) return;
        if (isProgramMissing(error)) return this.#sayMissing(error);
        if (tries < maxTries) {
          await this.#clock.sleep(retryMs, signal).catch(() => {});
          continue;
        }
        this.#log.warn({ ...flows, ...errorFields(error) }, 'cannot remove stale UDP flows; they end by their timeout');
        return;
      }
    }
  }

  #sayMissing(error: unknown): void {
    this.#waiting.clear();
    if (this.#saidMissing) return;
    this.#saidMissing = true;
    this.#log.warn(errorFields(error), 'UDP clients stay on endpoints that are gone until their flow times out');
  }
}

/**
 * Arguments for conntrack(8): flows sent to the virtual address whose answers come from the endpoint, or, when they
 * were never translated, would come from the virtual address itself.
 */
export function conntrackArgs(flows: StaleFlows, family: 'ipv4' | 'ipv6'): readonly string[] {
  const { ip, port } = flows.endpoint ?? flows;
  const address = (option: string, value: string) => (value === nodeAddress ? [] : [option, value]);
  const to = [...address('--orig-dst', flows.ip), '--orig-port-dst', String(flows.port)];
  const from = [...address('--reply-src', ip), '--reply-port-src', String(port)];
  return ['-D', '-f', family, '-p', 'udp', ...to, ...from];
}

const destinationOf = ({ ip, port, endpoint }: StaleFlows): string => {
  const from = endpoint ?? { ip, port };
  return `${ip} . ${port} > ${from.ip} . ${from.port}`;
};

/** All that a flow may be waited for as. */
const destinationsOf = ({ ip, port, answersFrom }: TrackedFlow): readonly string[] => {
  const from = `${answersFrom.ip} . ${answersFrom.port}`;
  return [
    `${ip} . ${port} > ${from}`,
    `${nodeAddress} . ${port} > ${from}`,
    `${nodeAddress} . ${port} > ${nodeAddress} . ${answersFrom.port}`,
  ];
};

/** The flows in the output of `conntrack -L`. */
export function flowsIn(output: string): readonly TrackedFlow[] {
  const line = /dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) dst=\S+ sport=(\d+) dport=\d+/gm;
  return [...output.matchAll(line)].map(([, ip = '', port, from = '', source]) => ({
    ip,
    port: Number(port),
    answersFrom: { ip: from, port: Number(source) },
  }));
}

const hostAddresses = (): ReadonlySet<string> =>
  new Set(Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address)));

/** conntrack exits with 1 when there was nothing to delete. */
const isNothingFound = (error: unknown): boolean =>
  error instanceof ExecError && error.exitCode === 1 && /\b0 flow entries/.test(error.stderr);
