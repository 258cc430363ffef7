import { existsSync } from 'node:fs';
import { systemClock as clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { DualProxier } from '../proxy/dual-proxier.ts';
import { healthCheckAnswer } from '../proxy/health-checks.ts';
import type { ProxyHealth } from '../proxy/proxy-health.ts';
import { PlainServer } from '../server/plain-server.ts';

interface OpenPort {
  readonly port: number;
  readonly stop: AbortController;
}

/** One port for each Service with a `healthCheckNodePort`; opened and closed as Services come and go. */
export class HealthCheckPorts {
  readonly #proxier: () => DualProxier;
  readonly #health: Pick<ProxyHealth, 'healthy'>;
  readonly #log: Log;
  readonly #open = new Map<string, OpenPort>();
  readonly #running = new Set<Promise<void>>();
  #signal: AbortSignal | undefined;

  constructor(options: { proxier: () => DualProxier; health: Pick<ProxyHealth, 'healthy'>; log: Log }) {
    this.#proxier = options.proxier;
    this.#health = options.health;
    this.#log = options.log;
  }

  /** Brings the open ports in step with the Services; before `run` it does nothing. */
  update(): void {
    if (!this.#signal || this.#signal.aborted) return;
    const wanted = new Map(this.#proxier().healthChecks());
    for (const [key, { port, stop }] of this.#open) {
      if (wanted.get(key)?.port === port) continue;
      stop.abort();
      this.#open.delete(key);
    }
    for (const [key, check] of wanted) {
      if (this.#open.has(key)) continue;
      const stop = new AbortController();
      this.#open.set(key, { port: check.port, stop });
      const server = new PlainServer({
        address: existsSync('/proc/net/if_inet6') ? '::' : '0.0.0.0',
        port: check.port,
        keys: 'spec.healthCheckNodePort',
        kind: `Service ${key}`,
        what: `the health check of Service ${key}`,
        answer: () => healthCheckAnswer(check, this.#proxier().localEndpoints(key), this.#health.healthy),
        ...{ clock, log: this.#log },
      });
      const running = server.run(AbortSignal.any([this.#signal, stop.signal]));
      this.#running.add(running);
      void running.finally(() => this.#running.delete(running));
    }
  }

  /** Serves until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.update();
    const aborted = Promise.withResolvers<void>();
    signal.addEventListener('abort', () => aborted.resolve(), { once: true });
    if (!signal.aborted) await aborted.promise;
    await Promise.all(this.#running);
  }
}
