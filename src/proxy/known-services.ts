import type { Complaints } from './complaints.ts';
import type { PortEndpoints } from './endpointslice-tracker.ts';
import { EndpointSliceTracker, mergeSlices } from './endpointslice-tracker.ts';
import type { NodeFacts } from './node-facts.ts';
import type { IpFamily, ServiceInfo } from './read-service.ts';
import type { SliceInfo } from './read-slice.ts';
import { routeService } from './route-services.ts';
import type { RouteChange } from './route-table.ts';
import { RouteTable } from './route-table.ts';
import { ServiceTracker } from './service-tracker.ts';
import type { Withdrawn } from './withdraw.ts';
import { withdraw } from './withdraw.ts';

/** Owns what is known of the Services of one address family and of their endpoints, and the routes made from it. */
export class KnownServices {
  readonly routes = new RouteTable();
  readonly #family: IpFamily;
  readonly #nodeName: string;
  readonly #complaints: Complaints;
  readonly #services = new ServiceTracker();
  readonly #slices: EndpointSliceTracker;
  /** Local pods that are known here to serve nobody any more, whatever the slices still say. */
  #withdrawn: Withdrawn = new Map();
  /** Services to route anew although none of their objects changed. */
  readonly #reconsider = new Set<string>();

  constructor(options: { readonly family: IpFamily; readonly nodeName: string; readonly complaints: Complaints }) {
    this.#family = options.family;
    this.#nodeName = options.nodeName;
    this.#complaints = options.complaints;
    this.#slices = new EndpointSliceTracker(options.nodeName);
  }

  /** How many changes `reroute` has not seen yet. */
  get pending(): { readonly services: number; readonly endpoints: number } {
    return { services: this.#services.pending, endpoints: this.#slices.pending };
  }

  get(key: string): ServiceInfo | undefined {
    return this.#services.get(key);
  }

  /** Whether a Service, or a slice of it, has come. */
  isKnown(key: string): boolean {
    return this.#services.get(key) !== undefined || this.#slices.isKnown(key);
  }

  /** Returns whether there is anything to route anew; so do the next two. */
  updateService(key: string, service: ServiceInfo | undefined): boolean {
    return this.#services.update(key, service);
  }

  /** `key` is the slice's own. */
  updateSlice(key: string, slice: SliceInfo | undefined): boolean {
    return this.#slices.update(key, slice);
  }

  /** `urgent`: an endpoint of this node serves less than before. */
  withdraw(withdrawn: Withdrawn): { readonly changed: boolean; readonly urgent: boolean } {
    const before = this.#withdrawn;
    this.#withdrawn = withdrawn;
    let changed = false;
    let urgent = false;
    for (const local of new Set([...before.keys(), ...withdrawn.keys()])) {
      if (before.get(local) === withdrawn.get(local)) continue;
      for (const key of this.#slices.servicesOf(local)) {
        this.#reconsider.add(key);
        changed = true;
        urgent ||= withdrawn.has(local);
      }
    }
    return { changed, urgent };
  }

  /** Routes all Services anew the next time, or those meant. */
  reconsider(isMeant: (service: ServiceInfo) => boolean = () => true): void {
    for (const key of this.#services.keys()) {
      const service = this.#services.get(key);
      if (service && isMeant(service)) this.#reconsider.add(key);
    }
  }

  /** Routes what changed, from where this node is; returns the frontends whose route differs. */
  reroute({ zone, addresses }: Pick<NodeFacts, 'zone' | 'addresses'>): readonly RouteChange[] {
    const place = { nodeName: this.#nodeName, zone, addresses };
    const dirty = new Set<string>([...this.#services.drain().keys(), ...this.#slices.drain(), ...this.#reconsider]);
    this.#reconsider.clear();
    const changes: RouteChange[] = [];
    for (const key of dirty) {
      const service = this.#services.get(key);
      const routes = service ? routeService(service, this.endpointsOf(key).known, place) : [];
      const { changed, conflicts } = this.routes.update(key, service?.createdAt ?? '', routes);
      changes.push(...changed);
      const what = 'two Services claim the same address and port; the older one has it';
      const lost = conflicts.map(({ frontend, winner, loser }) => ({
        about: `Service ${loser}`,
        text: `${frontend}: ${winner} has it, not ${loser}`,
      }));
      this.#complaints.found(`${this.#family} Service ${key} conflicts`, lost, what);
    }
    return changes;
  }

  /** The endpoints of a Service as its slices tell them, and as this node knows them. */
  endpointsOf(key: string): { readonly told: readonly PortEndpoints[]; readonly known: readonly PortEndpoints[] } {
    const slices = this.#slices.slicesOf(key);
    const publishesNotReady = this.#services.get(key)?.publishesNotReady === true;
    const known = withdraw(slices, this.#withdrawn, { nodeName: this.#nodeName, publishesNotReady });
    const told = mergeSlices(slices);
    return { told, known: known === slices ? told : mergeSlices(known) };
  }

  /** How many ready endpoints a Service has on this node. */
  localEndpoints(key: string): number {
    const ready = this.endpointsOf(key).known.flatMap(({ endpoints }) =>
      endpoints.filter((one) => one.ready && one.nodeName === this.#nodeName).map((one) => one.ip),
    );
    return new Set(ready).size;
  }

  /** Whether a slice has an endpoint of this node with this key. */
  isLocalEndpoint(endpointKey: string): boolean {
    return this.#slices.servicesOf(endpointKey).size > 0;
  }
}
