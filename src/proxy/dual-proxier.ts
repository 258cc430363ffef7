import type { Node, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { PacketTrace, ServiceDiff, ServicePlan } from '../api/service-views.ts';
import { AgentError } from '../lib/errors.ts';
import type { HealthCheck } from './health-checks.ts';
import type { Proxier } from './proxier.ts';
import { traceFamilies } from './trace-packet.ts';
import type { TraceQuestion } from './trace-question.ts';
import type { TraceObjects } from './trace-target.ts';
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

  /** Whether a slice has an endpoint of this node with this key, an address or the UID of a pod. */
  isLocalEndpoint(key: string): boolean {
    return this.#all.some((one) => one.isLocalEndpoint(key));
  }

  /** Of each family, as `Proxier.noLocalEndpoints`. */
  noLocalEndpoints(): readonly Proxier['noLocalEndpoints'][] {
    return this.#all.map((one) => one.noLocalEndpoints);
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

  /** See `Proxier.rehearse`. */
  rehearse(): void {
    for (const one of this.#all) one.rehearse();
  }

  get pending(): { readonly services: number; readonly endpoints: number } {
    const pending = this.#all.map((one) => one.pending);
    const sum = (what: 'services' | 'endpoints') => pending.reduce((all, one) => all + one[what], 0);
    return { services: sum('services'), endpoints: sum('endpoints') };
  }

  plan(): readonly ServicePlan[] {
    this.#needsObjects();
    return this.#all.map((one) => one.plan());
  }

  /** How the kernel differs from what it shall hold; throws an AgentError when it cannot be read. */
  async diff(signal: AbortSignal): Promise<readonly ServiceDiff[]> {
    this.#needsObjects();
    return Promise.all(this.#all.map((one) => one.diff(signal)));
  }

  /** The ways of the packets that the question stands for, never none; throws an AgentError `BadQuestion`. */
  trace(question: TraceQuestion, objects: TraceObjects): readonly PacketTrace[] {
    this.#needsObjects();
    const families = this.#all.map((one) => one.traceFacts);
    return traceFamilies(families, objects, question);
  }

  #needsObjects(): void {
    if (this.#all.length > 0 && this.#all.every((one) => one.isRouted)) return;
    const hint = 'see the log for what keeps them away: journalctl -u keelson';
    throw new AgentError('ServicesUnknown', 'Services and EndpointSlices are not known here yet', { hint });
  }

  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#all.map((one) => one.run(signal)));
  }
}
