import { aborted } from '../lib/aborted.ts';
import { systemClock as clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { Complaints } from '../proxy/complaints.ts';
import type { DualProxier } from '../proxy/dual-proxier.ts';
import { claimPorts, type HealthCheck, healthCheckAnswer } from '../proxy/health-checks.ts';
import type { ProxyHealth } from '../proxy/proxy-health.ts';
import { PlainServer } from '../server/plain-server.ts';
import { healthCheckPlaces, type Place, type PlacesInput } from './health-check-places.ts';

/**
 * One port for each Service with a `healthCheckNodePort`, at each address that serves node ports; opened and closed as
 * Services, and the addresses of the node, come and go.
 */
export class HealthCheckPorts {
  readonly #proxier: () => DualProxier;
  readonly #health: Pick<ProxyHealth, 'healthy'>;
  readonly #log: Log;
  readonly #complaints: Complaints;
  readonly #places: () => PlacesInput;
  /** By Service, port and address. */
  readonly #open = new Map<string, AbortController>();
  readonly #running = new Set<Promise<void>>();
  #signal: AbortSignal | undefined;

  constructor(options: {
    readonly proxier: () => DualProxier;
    readonly health: Pick<ProxyHealth, 'healthy'>;
    /** What says where they are served. */
    readonly places: () => PlacesInput;
    readonly log: Log;
  }) {
    this.#proxier = options.proxier;
    this.#places = options.places;
    this.#health = options.health;
    this.#log = options.log;
    this.#complaints = new Complaints(options.log);
  }

  /** Brings the open ports in step with the Services; before `run` it does nothing. */
  update(): void {
    if (!this.#signal || this.#signal.aborted) return;
    const checks = this.#claimed();
    const places = checks.size > 0 ? healthCheckPlaces(this.#places()) : [];
    const wanted = new Map<string, { readonly service: string; readonly check: HealthCheck; readonly place: Place }>();
    for (const [service, check] of checks)
      for (const place of places) wanted.set(`${service} ${check.port} ${place.address}`, { service, check, place });
    for (const [key, stop] of this.#open) {
      if (wanted.has(key)) continue;
      stop.abort();
      this.#open.delete(key);
    }
    for (const [key, { service, check, place }] of wanted) {
      if (this.#open.has(key)) continue;
      const stop = new AbortController();
      this.#open.set(key, stop);
      const running = this.#serve(service, check, place, AbortSignal.any([this.#signal, stop.signal]));
      this.#running.add(running);
      void running.finally(() => this.#running.delete(running));
    }
  }

  /** Of those that want the same port the oldest Service has it. */
  #claimed(): ReadonlyMap<string, HealthCheck> {
    const { won, lost } = claimPorts(this.#proxier().healthChecks());
    const faults = lost.map(({ key, port, winner }) => ({
      about: `Service ${key}`,
      text: `spec.healthCheckNodePort ${port}: ${winner} has it, not ${key}`,
    }));
    const message = 'two Services claim the same health check port; the older one has it';
    this.#complaints.found('health checks', faults, message);
    return won;
  }

  #serve(service: string, check: HealthCheck, place: Place, signal: AbortSignal): Promise<void> {
    const server = new PlainServer({
      ...place,
      port: check.port,
      keys: 'spec.healthCheckNodePort',
      kind: `Service ${service}`,
      what: `the health check of Service ${service}`,
      answer: () => healthCheckAnswer(check, this.#proxier().localEndpoints(service), this.#health.healthy),
      ...{ clock, log: this.#log },
    });
    return server.run(signal);
  }

  /** Serves until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.update();
    await aborted(signal);
    await Promise.all(this.#running);
  }
}
