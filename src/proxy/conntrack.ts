import type { Exec } from '../host/exec.ts';
import { ExecError, isProgramMissing } from '../host/exec.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { nodeAddress } from './route-services.ts';

/** UDP flows to a virtual address that lead to `endpoint`; undefined: those that were never translated. */
export interface StaleFlows {
  /** `nodeAddress`: any, as for a node port. */
  readonly ip: string;
  readonly port: number;
  /** `10.244.0.5 . 53`. */
  readonly endpoint: string | undefined;
}

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
      this.#waiting.set(`${flows.ip} ${flows.port} ${flows.endpoint ?? ''}`, flows);
      if (this.#waiting.size <= maxWaiting) continue;
      for (const oldest of this.#waiting.keys()) {
        this.#waiting.delete(oldest);
        break;
      }
    }
    this.#wake();
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
    try {
      const options = { signal, timeoutMs: 30_000, maxOutputBytes: 256 * 1024 * 1024 };
      const { stdout } = await this.#exec.run('conntrack', ['-L', '-f', this.#family, '-p', 'udp'], options);
      const found = destinationsIn(stdout);
      for (const key of asked) {
        const flows = this.#waiting.get(key);
        if (flows && !found.has(destinationOf(flows))) this.#waiting.delete(key);
      }
    } catch (error) {
      if (isProgramMissing(error)) this.#sayMissing(error);
      else this.#log.debug(errorFields(error), 'cannot list UDP flows; looking for the stale ones one by one');
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
  const [ip, port] = flows.endpoint?.split(' . ') ?? [flows.ip, String(flows.port)];
  const address = (option: string, value: string) => (value === nodeAddress ? [] : [option, value]);
  const to = [...address('--orig-dst', flows.ip), '--orig-port-dst', String(flows.port)];
  const from = [...address('--reply-src', ip ?? ''), '--reply-port-src', port ?? ''];
  return ['-D', '-f', family, '-p', 'udp', ...to, ...from];
}

const destinationOf = ({ ip, port, endpoint }: StaleFlows): string =>
  `${ip} . ${port} > ${endpoint ?? `${ip} . ${port}`}`;

/** Where the flows in the output of `conntrack -L` go: address and port asked for, address and port that answers. */
export function destinationsIn(output: string): ReadonlySet<string> {
  const line = /dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) dst=\S+ sport=(\d+) dport=\d+/gm;
  return new Set(
    [...output.matchAll(line)].flatMap(([, ip, port, from, source]) => [
      `${ip} . ${port} > ${from} . ${source}`,
      `${nodeAddress} . ${port} > ${from} . ${source}`,
      `${nodeAddress} . ${port} > ${nodeAddress} . ${source}`,
    ]),
  );
}

/** conntrack exits with 1 when there was nothing to delete. */
const isNothingFound = (error: unknown): boolean =>
  error instanceof ExecError && error.exitCode === 1 && /\b0 flow entries/.test(error.stderr);
