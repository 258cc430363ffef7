import type { Service } from '../api/core-v1.ts';
import type { Log } from '../lib/log.ts';
import type { LocalPod } from './local-slices.ts';
import { computeLocalSlices } from './local-slices.ts';
import type { Proxier } from './proxier.ts';

/** Feeds a proxier where there is no API server: Services from manifests, endpoints from this node's pods. */
export class LocalFeed {
  readonly #proxier: Pick<Proxier, 'onServiceChange' | 'onSliceChange' | 'sourcesSynced'>;
  readonly #nodeName: string;
  readonly #log: Log;
  #services: ReadonlySet<string> = new Set();
  #slices: ReadonlySet<string> = new Set();
  #problems: ReadonlySet<string> = new Set();

  constructor(options: {
    proxier: Pick<Proxier, 'onServiceChange' | 'onSliceChange' | 'sourcesSynced'>;
    nodeName: string;
    log: Log;
  }) {
    this.#proxier = options.proxier;
    this.#nodeName = options.nodeName;
    this.#log = options.log;
  }

  /**
   * Everything there is now. Call it after each change of either, from the moment when both are known in full: what
   * the kernel has from an earlier run and is not among it goes.
   */
  update(services: readonly Service[], pods: readonly LocalPod[]): void {
    const byKey = new Map(services.map((one) => [`${one.metadata.namespace ?? 'default'}/${one.metadata.name}`, one]));
    const { slices, problems } = computeLocalSlices(services, pods, this.#nodeName);
    for (const key of this.#services) if (!byKey.has(key)) this.#proxier.onServiceChange(key, undefined);
    for (const key of this.#slices) if (!slices.has(key)) this.#proxier.onSliceChange(key, undefined);
    for (const [key, service] of byKey) this.#proxier.onServiceChange(key, service);
    for (const [key, slice] of slices) this.#proxier.onSliceChange(key, slice);
    for (const { service, problem } of problems) {
      if (!this.#problems.has(service)) this.#log.warn({ service, problem }, 'a Service gets no virtual address');
    }
    this.#services = new Set(byKey.keys());
    this.#slices = new Set(slices.keys());
    this.#problems = new Set(problems.map(({ service }) => service));
    this.#proxier.sourcesSynced();
  }
}
