import * as cri from '../api/cri.ts';
import { containerId, type PodUid, podUid, sandboxId } from '../api/ids.ts';
import { criAnnotations, criLabels } from '../api/labels.ts';
import { isCriCode, type RuntimeService } from '../cri/services.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ObservedContainer, ObservedContainerState, ObservedPod, ObservedSandbox } from './observed.ts';
import type { PlegMetrics } from './pleg-metrics.ts';
import type { PodCache } from './pod-cache.ts';

/**
 * How often the runtime is listed when nothing tells us that something happened, and when something does. Half a
 * second: an exit is then in the status within 700 ms, for a listing of a few milliseconds each time.
 */
export const relistPeriodMs = { withoutEvents: 500, withEvents: 15_000 } as const;

export interface PlegOptions {
  readonly runtime: RuntimeService;
  readonly cache: PodCache;
  readonly clock: Clock;
  readonly log: Log;
  /** Called with the UID of every pod whose record changed. */
  readonly wake: (uid: PodUid) => void;
  /** What the container left behind as its last words; read once per exit. */
  readonly terminationMessage: (status: cri.ContainerStatus, podUid: PodUid) => Promise<string>;
  readonly metrics?: PlegMetrics;
  /** Called once for each container that is seen to have ended. */
  readonly ended?: (uid: PodUid, container: ObservedContainer) => void;
}

/**
 * The pod lifecycle event generator: looks at the runtime, writes the cache, wakes whoever cares.
 * It is level-triggered: an event only says which pod to look at again. A pod whose inspection fails
 * keeps its old record, so the next look finds the same difference and tries again.
 */
export class Pleg {
  readonly #o: PlegOptions;
  /** Inspected containers by id: an exited container never changes, a running one only by its state. */
  readonly #containers = new Map<string, ObservedContainer>();
  readonly #sandboxes = new Map<string, ObservedSandbox>();
  #relisting: Promise<void> | undefined;
  #lastRelistAt = Number.NEGATIVE_INFINITY;
  /** When the last relist began, whether it worked or not. */
  #relistedAt = Number.NEGATIVE_INFINITY;
  #healthy = false;
  /** Resolves when the runtime was listed for the first time. */
  readonly listed: Promise<void>;
  readonly #markListed: () => void;

  constructor(options: PlegOptions) {
    this.#o = options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.listed = promise;
    this.#markListed = resolve;
  }

  /** Whether the last listing worked; false before the first. */
  get healthy(): boolean {
    return this.#healthy;
  }

  /** Monotonic milliseconds of the last listing that worked. */
  get lastRelistAt(): number {
    return this.#lastRelistAt;
  }

  /** Relists until aborted. `eventsFlow` says whether somebody else tells us what happens meanwhile. */
  async run(signal: AbortSignal, eventsFlow: () => boolean): Promise<void> {
    while (!signal.aborted) {
      await this.relist(signal).catch(() => {});
      const period = this.#healthy && eventsFlow() ? relistPeriodMs.withEvents : relistPeriodMs.withoutEvents;
      await this.#o.clock.sleep(period, signal).catch(() => {});
    }
  }

  /** Looks at everything. Calls while one runs share it. Rejects when the runtime cannot be listed. */
  relist(signal: AbortSignal): Promise<void> {
    this.#relisting ??= this.#relist(signal).finally(() => {
      this.#relisting = undefined;
    });
    return this.#relisting;
  }

  async #relist(signal: AbortSignal): Promise<void> {
    const { clock, metrics } = this.#o;
    const asOf = clock.monotonic();
    if (Number.isFinite(this.#relistedAt)) metrics?.relistInterval.observe((asOf - this.#relistedAt) / 1000);
    this.#relistedAt = asOf;
    let found: Map<PodUid, Listing>;
    try {
      found = await this.#list({}, {}, signal);
    } catch (error) {
      if (!isAbort(error) && this.#healthy) this.#o.log.warn(errorFields(error), 'cannot list the runtime');
      this.#healthy = false;
      throw error;
    }
    this.#healthy = true;
    this.#lastRelistAt = asOf;
    for (const uid of this.#o.cache.uids()) if (!found.has(uid)) found.set(uid, noListing);
    await Promise.all([...found].map(([uid, listing]) => this.#commit(uid, listing, asOf, signal)));
    this.#o.cache.forgetGone(asOf);
    this.#forgetUnlisted(found);
    metrics?.relistDuration.observe((clock.monotonic() - asOf) / 1000);
    this.#markListed();
  }

  /**
   * Looks at one pod now and commits what it finds; the caller sees its own effects in the cache
   * afterwards. Rejects when the runtime does not answer.
   */
  async refresh(uid: PodUid, signal: AbortSignal): Promise<ObservedPod | undefined> {
    const asOf = this.#o.clock.monotonic();
    const labelSelector = { [criLabels.podUid]: uid };
    const found = await this.#list({ labelSelector }, { labelSelector }, signal);
    await this.#commit(uid, found.get(uid) ?? noListing, asOf, signal);
    this.#o.metrics?.podRelistDuration.observe((this.#o.clock.monotonic() - asOf) / 1000);
    return this.#o.cache.get(uid);
  }

  /**
   * Takes up a sandbox that was just made, without listing anything: its maker knows what a listing would
   * say. Resolves with the sandbox and its addresses.
   */
  async sawSandbox(uid: PodUid, id: string, signal: AbortSignal): Promise<ObservedSandbox> {
    const asOf = this.#o.clock.monotonic();
    const status = await this.#o.runtime.podSandboxStatus(id, signal);
    const sandbox = this.#remember(id, status);
    const before = this.#o.cache.get(uid);
    const { name = '', namespace = '' } = status.metadata ?? {};
    const others = before?.sandboxes.filter((s) => s.id !== sandbox.id) ?? [];
    const after = { uid, name, namespace, containers: before?.containers ?? [], sandboxes: [sandbox, ...others] };
    if (this.#o.cache.commit(uid, after, asOf)) this.#o.wake(uid);
    return sandbox;
  }

  /** Takes up containers that were just started, likewise. */
  async sawContainers(uid: PodUid, started: readonly StartedContainer[], signal: AbortSignal): Promise<void> {
    const asOf = this.#o.clock.monotonic();
    const before = this.#o.cache.get(uid);
    if (!before) return void (await this.refresh(uid, signal));
    const seen = await Promise.all(
      started.map(({ id, name, sandboxId: podSandboxId }) =>
        this.#inspectContainer({ id, metadata: { name }, podSandboxId, state: running }, uid, signal),
      ),
    );
    const ids = new Set<string>(started.map((c) => c.id));
    const containers = [...seen, ...before.containers.filter((c) => !ids.has(c.id))].sort(newestContainerFirst);
    if (this.#o.cache.commit(uid, { ...before, containers }, asOf)) this.#o.wake(uid);
  }

  /** Looks again at containers whose resources were changed: no listing tells of that. */
  async sawUpdated(uid: PodUid, updated: readonly ObservedContainer[], signal: AbortSignal): Promise<void> {
    for (const { id } of updated) this.#containers.delete(id);
    await this.sawContainers(uid, updated, signal);
  }

  /** What the record says of a container or sandbox of the pod; 'unknown' where it does not hold it. */
  fateOf(uid: PodUid, id: string): 'alive' | 'ended' | 'unknown' {
    const observed = this.#o.cache.get(uid);
    const container = observed?.containers.find((c) => c.id === id);
    if (container) return container.state === 'exited' ? 'ended' : 'alive';
    const sandbox = observed?.sandboxes.find((s) => s.id === id);
    if (sandbox) return sandbox.state === 'ready' ? 'alive' : 'ended';
    return 'unknown';
  }

  /** The pod to which a container or sandbox belongs, as far as it has been seen. */
  ownerOf(id: string): PodUid | undefined {
    for (const uid of this.#o.cache.uids()) {
      const observed = this.#o.cache.get(uid);
      if (observed?.containers.some((c) => c.id === id) || observed?.sandboxes.some((s) => s.id === id)) return uid;
    }
    return undefined;
  }

  async #list(
    sandboxFilter: cri.PodSandboxFilter,
    containerFilter: cri.ContainerFilter,
    signal: AbortSignal,
  ): Promise<Map<PodUid, Listing>> {
    const { runtime } = this.#o;
    const [sandboxes, containers] = await Promise.all([
      runtime.listPodSandbox(sandboxFilter, signal),
      runtime.listContainers(containerFilter, signal),
    ]);
    const found = new Map<PodUid, Listing>();
    const listing = (labels: Readonly<Record<string, string>> | undefined): Listing | undefined => {
      const uid = labels?.[criLabels.podUid];
      if (!uid) return undefined;
      const known = found.get(podUid(uid));
      if (known) return known;
      const fresh: Listing = {
        name: labels[criLabels.podName] ?? '',
        namespace: labels[criLabels.podNamespace] ?? '',
        sandboxes: [],
        containers: [],
      };
      found.set(podUid(uid), fresh);
      return fresh;
    };
    for (const sandbox of sandboxes) listing(sandbox.labels)?.sandboxes.push(sandbox);
    for (const container of containers) listing(container.labels)?.containers.push(container);
    return found;
  }

  async #commit(uid: PodUid, listing: Listing, asOf: number, signal: AbortSignal): Promise<void> {
    const before = this.#o.cache.get(uid);
    if (before && listing !== noListing && this.#isUnchanged(before, listing)) {
      this.#o.cache.commit(uid, before, asOf);
      return;
    }
    if (!before && listing === noListing) return;
    try {
      const after = listing === noListing ? undefined : await this.#inspect(uid, listing, signal);
      if (this.#o.cache.commit(uid, after, asOf)) this.#o.wake(uid);
    } catch (error) {
      if (isAbort(error)) throw error;
      // Something vanished between list and inspection is no trouble: the next look sees it gone.
      if (!isCriCode(error, 'NOT_FOUND')) {
        this.#o.log.warn({ podUid: uid, ...errorFields(error) }, 'cannot inspect a pod, will look again');
      }
    }
  }

  /** Compared with the record, not with what was inspected since: an inspection whose record came too late has to be repeated. */
  #isUnchanged(before: ObservedPod, listing: Listing): boolean {
    const { sandboxes, containers } = before;
    return (
      sandboxes.length === listing.sandboxes.length &&
      containers.length === listing.containers.length &&
      listing.sandboxes.every((l) => sandboxes.find(({ id }) => id === l.id)?.state === sandboxState(l.state)) &&
      listing.containers.every((l) => containers.find(({ id }) => id === l.id)?.state === containerState(l.state))
    );
  }

  async #inspect(uid: PodUid, listing: Listing, signal: AbortSignal): Promise<ObservedPod> {
    const newestFirst = <T extends { readonly createdAt: number }>(a: T, b: T) => b.createdAt - a.createdAt;
    const [sandboxes, containers] = await Promise.all([
      Promise.all(listing.sandboxes.map((s) => this.#inspectSandbox(s, signal))),
      Promise.all(listing.containers.map((c) => this.#inspectContainer(c, uid, signal))),
    ]);
    return {
      uid,
      name: listing.name,
      namespace: listing.namespace,
      sandboxes: sandboxes.sort((a, b) => b.attempt - a.attempt || newestFirst(a, b)),
      containers: containers.sort(newestContainerFirst),
    };
  }

  async #inspectSandbox(listed: cri.PodSandbox, signal: AbortSignal): Promise<ObservedSandbox> {
    const id = sandboxId(listed.id ?? '');
    const state = sandboxState(listed.state);
    const known = this.#sandboxes.get(id);
    if (known?.state === state && (state === 'notready' || known.ips.length > 0 || known.hostNetwork)) return known;
    if (state === 'ready') return this.#remember(id, await this.#o.runtime.podSandboxStatus(id, signal));
    const observed: ObservedSandbox = {
      id,
      state,
      attempt: listed.metadata?.attempt ?? 0,
      createdAt: milliseconds(listed.createdAt),
      ips: [],
      hostNetwork: known?.hostNetwork ?? false,
    };
    this.#sandboxes.set(id, observed);
    return observed;
  }

  #remember(id: string, status: cri.PodSandboxStatus): ObservedSandbox {
    const { network, metadata } = status;
    const ips = [network?.ip, ...(network?.additionalIps ?? []).map((a) => a.ip)].filter((ip) => !!ip) as string[];
    const observed: ObservedSandbox = {
      id: sandboxId(id),
      state: sandboxState(status.state),
      attempt: metadata?.attempt ?? 0,
      createdAt: milliseconds(status.createdAt),
      ips,
      hostNetwork: status.linux?.namespaces?.options?.network === cri.NamespaceMode.NODE,
    };
    this.#sandboxes.set(id, observed);
    return observed;
  }

  async #inspectContainer(listed: cri.Container, uid: PodUid, signal: AbortSignal): Promise<ObservedContainer> {
    const id = containerId(listed.id ?? '');
    const known = this.#containers.get(id);
    if (known?.state === containerState(listed.state)) return known;
    const status = await this.#o.runtime.containerStatus(id, signal);
    const state = containerState(status.state);
    const observed: ObservedContainer = {
      id,
      name: listed.metadata?.name ?? '',
      sandboxId: sandboxId(listed.podSandboxId ?? ''),
      state,
      attempt: Number(status.annotations?.[criAnnotations.restartCount] ?? listed.metadata?.attempt ?? 0),
      createdAt: milliseconds(status.createdAt),
      startedAt: milliseconds(status.startedAt),
      finishedAt: milliseconds(status.finishedAt),
      exitCode: status.exitCode ?? 0,
      reason: status.reason ?? '',
      message: status.message ?? '',
      image: status.image?.image ?? '',
      imageRef: status.imageRef ?? '',
      hash: status.annotations?.[criAnnotations.hash] ?? '',
      terminationMessage: state === 'exited' ? await this.#o.terminationMessage(status, uid) : '',
      ...reported(status),
    };
    const before = this.#containers.get(id)?.state;
    this.#containers.set(id, observed);
    if (state === 'exited' && before && before !== 'exited') this.#o.ended?.(uid, observed);
    return observed;
  }

  #forgetUnlisted(found: ReadonlyMap<PodUid, Listing>): void {
    const ids = new Set<string>();
    for (const listing of found.values()) {
      for (const s of listing.sandboxes) ids.add(s.id ?? '');
      for (const c of listing.containers) ids.add(c.id ?? '');
    }
    for (const uid of this.#o.cache.uids()) {
      const observed = this.#o.cache.get(uid);
      for (const s of observed?.sandboxes ?? []) ids.add(s.id);
      for (const c of observed?.containers ?? []) ids.add(c.id);
    }
    for (const id of this.#containers.keys()) if (!ids.has(id)) this.#containers.delete(id);
    for (const id of this.#sandboxes.keys()) if (!ids.has(id)) this.#sandboxes.delete(id);
  }
}

/** What whoever started a container knows of it. */
export interface StartedContainer {
  readonly id: string;
  readonly name: string;
  readonly sandboxId: string;
}

const running = cri.ContainerState.CONTAINER_RUNNING;
/** By attempt before time: a clock that was set back makes what came later look older. */
const newestContainerFirst = (a: ObservedContainer, b: ObservedContainer): number =>
  b.attempt - a.attempt || b.createdAt - a.createdAt;

interface Listing {
  readonly name: string;
  readonly namespace: string;
  readonly sandboxes: cri.PodSandbox[];
  readonly containers: cri.Container[];
}

/** Stands for a pod that the runtime no longer knows. */
const noListing: Listing = { name: '', namespace: '', sandboxes: [], containers: [] };

/** What only newer runtimes say. */
function reported(
  status: cri.ContainerStatus,
): Pick<ObservedContainer, 'user' | 'resources' | 'imageId' | 'stopSignal' | 'recursiveReadOnly'> {
  const { resources, imageId, stopSignal } = status;
  const user = status.user?.linux;
  const recursive = (status.mounts ?? []).filter((m) => m.recursiveReadOnly).map((m) => m.containerPath ?? '');
  const signal = stopSignal ? signalNames.get(stopSignal) : undefined;
  return {
    ...(user
      ? { user: { uid: user.uid ?? 0, gid: user.gid ?? 0, supplementalGroups: user.supplementalGroups ?? [] } }
      : {}),
    ...(resources ? { resources } : {}),
    ...(imageId ? { imageId } : {}),
    ...(signal ? { stopSignal: signal } : {}),
    ...(recursive.length > 0 ? { recursiveReadOnly: recursive } : {}),
  };
}

/** As the API spells them: SIGRTMIN+1 is SIGRTMINPLUS1 in the CRI. */
const signalNames = new Map<number, string>(
  Object.entries(cri.Signal).map(([name, number]) => [number, name.replace('PLUS', '+').replace('MINUS', '-')]),
);

const milliseconds = (nanoseconds: number | undefined): number => Math.floor((nanoseconds ?? 0) / 1e6);

function sandboxState(state: cri.PodSandboxState | undefined): ObservedSandbox['state'] {
  return (state ?? 0) === cri.PodSandboxState.SANDBOX_READY ? 'ready' : 'notready';
}

function containerState(state: cri.ContainerState | undefined): ObservedContainerState {
  switch (state ?? cri.ContainerState.CONTAINER_CREATED) {
    case cri.ContainerState.CONTAINER_CREATED:
      return 'created';
    case cri.ContainerState.CONTAINER_RUNNING:
      return 'running';
    case cri.ContainerState.CONTAINER_EXITED:
      return 'exited';
    default:
      return 'unknown';
  }
}
