import type { Node, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { HealthCheck } from './health-checks.ts';
import type { Proxier } from './proxier.ts';
import type { Withdrawn } from './withdraw.ts';

/** The proxiers of both address families as one: each is told everything and takes what is of its family. */
export class DualProxier {
  readonly #all: readonly Proxier[];

  constructor(...proxiers: readonly Proxier[]) {
    this.#all = proxiers;
  }

  onServiceChange(key: string, service: Service | undefined): void {
    for (const one of this.#all) one.onServiceChange(key, service);
  }

  onSliceChange(key: string, slice: EndpointSlice | undefined): void {
    for (const one of this.#all) one.onSliceChange(key, slice);
  }

  onNodeChange(node: Node | undefined): void {
    for (const one of this.#all) one.onNodeChange(node);
  }

  onWithdrawn(withdrawn: Withdrawn): void {
    for (const one of this.#all) one.onWithdrawn(withdrawn);
  }

  hurry(): void {
    for (const one of this.#all) one.hurry();
  }

  /** See `Proxier.whenWritten`. */
  async whenWritten(ips: readonly string[], signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all.map((one) => one.whenWritten(ips, signal)));
  }

  /** Whether a slice names an address as an endpoint of this node. */
  isLocalEndpoint(ip: string): boolean {
    return this.#all.some((one) => one.isLocalEndpoint(ip));
  }

  /** By Service: the ports that load balancers ask; a dual-stack Service has one. */
  healthChecks(): ReadonlyMap<string, HealthCheck> {
    return new Map(this.#all.flatMap((one) => [...one.healthChecks]));
  }

  /** How many ready endpoints a Service has on this node, in the family that has most. */
  localEndpoints(serviceKey: string): number {
    return Math.max(0, ...this.#all.map((one) => one.localEndpoints(serviceKey)));
  }

  sourcesSynced(): void {
    for (const one of this.#all) one.sourcesSynced();
  }

  get pending(): { readonly services: number; readonly endpoints: number } {
    const pending = this.#all.map((one) => one.pending);
    const sum = (what: 'services' | 'endpoints') => pending.reduce((all, one) => all + one[what], 0);
    return { services: sum('services'), endpoints: sum('endpoints') };
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all.map((one) => one.run(signal)));
  }
}
