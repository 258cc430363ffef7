import { isDeepStrictEqual } from 'node:util';
import type { PortProtocol } from '../api/core-v1.ts';
import type { EndpointInfo, SliceInfo } from './read-slice.ts';
import { endpointKeys } from './withdraw.ts';

/** One endpoint of one Service port. */
export interface PortEndpoint extends EndpointInfo {
  readonly port: number;
}

/** All endpoints of a Service port, from all of its slices, each address and port once. */
export interface PortEndpoints {
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly endpoints: readonly PortEndpoint[];
}

interface SliceChange {
  readonly previous: SliceInfo | undefined;
  readonly current: SliceInfo | undefined;
}

/**
 * Owns what is known of every EndpointSlice, grouped by Service whether that Service is known or not (a slice may
 * arrive first), and collects whose endpoints changed since the last drain.
 */
export class EndpointSliceTracker {
  readonly #slices = new Map<string, SliceInfo>();
  readonly #byService = new Map<string, Map<string, SliceInfo>>();
  readonly #changes = new Map<string, SliceChange>();

  readonly #nodeName: string | undefined;
  /** Which Services an endpoint of this node, by each of its keys, is one of: by slice and Service. */
  readonly #localServices = new Map<string, Map<string, string>>();

  /** `nodeName`: whose endpoints are remembered by their keys. */
  constructor(nodeName?: string) {
    this.#nodeName = nodeName;
  }

  /** Keys of the Services that have an endpoint of this node with this key. */
  servicesOf(localKey: string): ReadonlySet<string> {
    return new Set(this.#localServices.get(localKey)?.values() ?? []);
  }

  /** How many changes wait to be drained. */
  get pending(): number {
    return this.#changes.size;
  }

  /** `key` is the slice's own `namespace/name`. Returns whether anything is left to drain for it. */
  update(key: string, current: SliceInfo | undefined): boolean {
    const pending = this.#changes.get(key);
    const known = this.#slices.get(key);
    const previous = pending ? pending.previous : known;
    if (known) this.#forget(known, key);
    if (current) this.#remember(key, current);
    else this.#slices.delete(key);
    if (isDeepStrictEqual(previous, current)) {
      this.#changes.delete(key);
      return false;
    }
    this.#changes.set(key, { previous, current });
    return true;
  }

  /** Keys of the Services whose endpoints may have changed. */
  drain(): ReadonlySet<string> {
    const services = new Set<string>();
    for (const { previous, current } of this.#changes.values()) {
      if (previous) services.add(previous.serviceKey);
      if (current) services.add(current.serviceKey);
    }
    this.#changes.clear();
    return services;
  }

  /** Whether any slice of a Service has come. */
  isKnown(serviceKey: string): boolean {
    return this.#byService.has(serviceKey);
  }

  slicesOf(serviceKey: string): readonly SliceInfo[] {
    return [...(this.#byService.get(serviceKey)?.values() ?? [])];
  }

  endpointsOf(serviceKey: string): readonly PortEndpoints[] {
    return mergeSlices(this.slicesOf(serviceKey));
  }

  #remember(key: string, slice: SliceInfo): void {
    this.#slices.set(key, slice);
    putIn(this.#byService, slice.serviceKey, key, slice);
    for (const local of this.#localKeys(slice)) putIn(this.#localServices, local, key, slice.serviceKey);
  }

  #forget(slice: SliceInfo, key: string): void {
    takeFrom(this.#byService, slice.serviceKey, key);
    for (const local of this.#localKeys(slice)) takeFrom(this.#localServices, local, key);
  }

  #localKeys({ endpoints }: SliceInfo): readonly string[] {
    if (this.#nodeName === undefined) return [];
    return endpoints.filter((endpoint) => endpoint.nodeName === this.#nodeName).flatMap(endpointKeys);
  }
}

function putIn<V>(maps: Map<string, Map<string, V>>, name: string, key: string, value: V): void {
  const map = maps.get(name);
  if (map) map.set(key, value);
  else maps.set(name, new Map([[key, value]]));
}

function takeFrom<V>(maps: Map<string, Map<string, V>>, name: string, key: string): void {
  const map = maps.get(name);
  map?.delete(key);
  if (map?.size === 0) maps.delete(name);
}

/**
 * Puts the slices of one Service together. While an endpoint moves from one slice to another both may hold it; the
 * copy that is more usable counts, so that the move cannot take a ready endpoint away; of two alike the one that says
 * where the endpoint runs.
 */
export function mergeSlices(slices: Iterable<SliceInfo>): readonly PortEndpoints[] {
  const ports = new Map<string, { name: string; protocol: PortProtocol; endpoints: Map<string, PortEndpoint> }>();
  for (const slice of slices) {
    for (const port of slice.ports) {
      const key = `${port.protocol}/${port.name}`;
      const merged = ports.get(key) ?? { name: port.name, protocol: port.protocol, endpoints: new Map() };
      ports.set(key, merged);
      for (const endpoint of slice.endpoints) {
        const id = `${endpoint.ip}:${port.port}`;
        const other = merged.endpoints.get(id);
        if (!other || usability(endpoint) > usability(other))
          merged.endpoints.set(id, { ...endpoint, port: port.port });
      }
    }
  }
  return [...ports.values()].map(({ name, protocol, endpoints }) => ({
    name,
    protocol,
    endpoints: [...endpoints.values()],
  }));
}

function usability({ ready, serving, terminating, nodeName }: EndpointInfo): number {
  const grade = ready ? 3 : serving && terminating ? 2 : serving ? 1 : 0;
  return grade + (nodeName === undefined ? 0 : 0.5);
}
