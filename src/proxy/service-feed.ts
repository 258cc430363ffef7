import { setImmediate } from 'node:timers/promises';
import type { Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import { isForbidden } from '../kubeapi/kube-api.ts';
import { failureLevel } from '../kubeapi/outage-log.ts';
import { Reflector } from '../kubeapi/reflector.ts';
import { endpointSlices, services } from '../kubeapi/resources.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { DualProxier } from './dual-proxier.ts';
import { headlessLabel, proxyNameLabel } from './read-service.ts';
import { serviceWithoutUnread, sliceWithoutUnread } from './without-unread.ts';

/** Objects that are not for this proxy are not even sent to it, as with kube-proxy. */
const labelSelector = `!${headlessLabel},!${proxyNameLabel}`;

/** Objects that are told again in one go. */
const resyncPiece = 100;

/**
 * Feeds a proxier from the API server, under the identity that the client given here has. A missing permission is
 * said once with its remedy; the reflectors try on, so that granting it is enough.
 */
export class ServiceFeed {
  readonly #services: Reflector<Service>;
  readonly #slices: Reflector<EndpointSlice>;
  readonly #proxier: Pick<DualProxier, 'onServiceChange' | 'onSliceChange' | 'sourcesSynced'>;
  readonly #clock: Clock;
  readonly #resyncMs: number;
  readonly #log: Log;

  constructor(options: {
    api: KubeApi;
    /** Whose pods may be taken out of the rules by what is known of them here. */
    nodeName: string;
    /** How often everything known is told again. */
    resyncMs: number;
    proxier: Pick<DualProxier, 'onServiceChange' | 'onSliceChange' | 'sourcesSynced'>;
    clock: Clock;
    log: Log;
  }) {
    const { api, nodeName, clock, log } = options;
    this.#proxier = options.proxier;
    this.#log = log;
    this.#clock = clock;
    this.#resyncMs = options.resyncMs;
    const common = { api, clock, log, query: { labelSelector } };
    const health = (resource: string) => (error: unknown) => this.#onHealth(resource, error);
    this.#services = new Reflector({
      ...common,
      resource: services,
      onHealth: health('services'),
      transform: serviceWithoutUnread,
    });
    this.#slices = new Reflector({
      ...common,
      resource: endpointSlices,
      onHealth: health('endpointslices'),
      transform: (slice) => sliceWithoutUnread(slice, nodeName),
    });
  }

  /** The Services known now: pods' environments are made from them too. */
  get services(): ReadonlyMap<string, Service> {
    return this.#services.store;
  }

  /** All slices of a Service, of every family. Looks at each one that there is. */
  slicesOf(serviceKey: string): readonly EndpointSlice[] {
    return [...this.#slices.store.values()].filter(
      ({ metadata: { namespace = 'default', labels } }) => `${namespace}/${labels?.[serviceNameLabel]}` === serviceKey,
    );
  }

  get servicesSynced(): Promise<void> {
    return this.#services.synced;
  }

  async run(signal: AbortSignal): Promise<void> {
    using _services = this.#services.subscribe((key, service) => this.#proxier.onServiceChange(key, service));
    using _slices = this.#slices.subscribe((key, slice) => this.#proxier.onSliceChange(key, slice));
    const both = Promise.all([this.#services.synced, this.#slices.synced]);
    void both.then(() => this.#proxier.sourcesSynced());
    await Promise.all([this.#services.run(signal), this.#slices.run(signal), this.#resync(signal)]);
  }

  /** Tells everything again, which changes nothing unless something got lost on the way. */
  async #resync(signal: AbortSignal): Promise<void> {
    try {
      for (;;) {
        await this.#clock.sleep(this.#resyncMs, signal);
        await inPieces(this.#services.store, (key, service) => this.#proxier.onServiceChange(key, service), signal);
        await inPieces(this.#slices.store, (key, slice) => this.#proxier.onSliceChange(key, slice), signal);
      }
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  #onHealth(resource: string, error: unknown): void {
    if (error === undefined) this.#log.info({ resource }, 'following the API server again');
    else if (isForbidden(error)) {
      const remedy = grantCommand(userIn(error.message));
      this.#log.error(
        { resource, ...errorFields(error), remedy },
        'this identity may not follow what Services need: their virtual addresses are not kept up to date',
      );
    } else
      this.#log[failureLevel(error)]({ resource, ...errorFields(error) }, 'cannot follow the API server; trying on');
  }
}

/** Others get their turn between the pieces. What changes meanwhile is told as it is then. */
async function inPieces<T>(
  store: ReadonlyMap<string, T>,
  tell: (key: string, object: T) => void,
  signal: AbortSignal,
): Promise<void> {
  let told = 0;
  for (const [key, object] of store) {
    tell(key, object);
    told += 1;
    if (told % resyncPiece === 0) await setImmediate(undefined, { signal });
  }
}

/** The user that the API server names in a 403, or undefined. */
export const userIn = (message: string): string | undefined => /\bUser "([^"]+)"/.exec(message)?.[1];

/**
 * What an administrator runs so that this identity may read what kube-proxy reads. `system:node-proxier` is a role of
 * every cluster and grants reading only. Nodes get it by their group, so that it is done once for all of them.
 */
export function grantCommand(user: string | undefined): string {
  const command = 'kubectl create clusterrolebinding keelson-node-proxier --clusterrole=system:node-proxier';
  const [, namespace, name] = /^system:serviceaccount:([^:]+):(.+)$/.exec(user ?? '') ?? [];
  if (namespace && name) return `${command} --serviceaccount=${namespace}:${name}`;
  if (user === undefined || user.startsWith('system:node:')) return `${command} --group=system:nodes`;
  return `${command} --user=${user}`;
}
