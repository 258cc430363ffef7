import type { Config } from '../config/config.ts';
import { hostExec } from '../host/exec.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import { orAborted } from '../lib/aborted.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { PodNetwork } from '../network/pod-network.ts';
import type { NodeController } from '../node/node-controller.ts';
import type { PodSources } from '../pod/sources.ts';
import type { VolumeManager } from '../volumes/volume-manager.ts';
import { housekeepOnce } from '../workers/housekeeping.ts';
import type { HostParts } from './host-parts.ts';
import type { Metrics } from './metrics-part.ts';
import type { PodsHalf } from './pods-half.ts';

/*
 * The few loops that belong to no single part: each looks when something it depends on has changed, and
 * again after a while where it did not work.
 */

/** Leftovers of a killed predecessor are looked for at start and then rarely: nothing else makes them. */
const housekeepingPeriodMs = 120_000;
/** What cannot be removed is in use, and somebody may let go of it. */
const leftoversRetryMs = 15_000;
const retryMs = 2_000;
/** Somebody may flush the firewall: the masquerading comes back by itself. */
const networkCheckMs = 60_000;
/** Mirror pods change with the things that wake their loop; this is for what nobody thought of. */
const mirrorCheckMs = 600_000;

/** Pods may start without the Services' variables and the RuntimeClasses after this long: an API server that is away must not keep static pods down. */
const surroundingsPatienceMs = 5_000;

/**
 * What is observed comes before what is desired: the workers begin when the runtime has been listed, or
 * every running pod would look unstarted. Once all sources have reported, what they did not name is
 * unwanted, and every pod is looked at again.
 */
export async function startPods(
  half: PodsHalf,
  surroundingsSynced: Promise<unknown>,
  sourcesSynced: readonly (Promise<void> | undefined)[],
  signal: AbortSignal,
): Promise<void> {
  const { pleg, runtimeEvents, workers } = half;
  const loops = [pleg.run(signal, () => runtimeEvents.flowing), runtimeEvents.run(signal)];
  await orAborted(pleg.listed, signal);
  await Promise.race([surroundingsSynced, clock.sleep(surroundingsPatienceMs, signal).catch(() => {})]);
  if (!signal.aborted) workers.start();
  await orAborted(Promise.all(sourcesSynced), signal);
  if (!signal.aborted) workers.wakeAll();
  await Promise.all(loops);
}

/** Makes the pod network as soon as the pod CIDR is known: from the configuration, or from the Node object. */
export async function keepPodNetwork(
  config: Config,
  controller: NodeController,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { kubelet, proxy, keelson } = config;
  if (keelson.network.manage === 'Never') return;
  const network = new PodNetwork({
    ...keelson.network,
    clusterCidrs: proxy.clusterCIDR ? proxy.clusterCIDR.split(',') : [],
    exec: hostExec,
    log,
  });
  const wanted = () => controller.current()?.spec?.podCIDRs ?? (kubelet.podCIDR ? kubelet.podCIDR.split(',') : []);
  const ensure = async () => {
    await network.ensure(wanted(), signal);
    return true;
  };
  const onChange = (wake: () => void) => controller.onChange(wake);
  await repeat({
    signal,
    onChange,
    once: ensure,
    periodMs: networkCheckMs,
    log,
    failure: 'cannot make the pod network',
  });
}

/** Keeps mirror pods in step; woken by every change of a static pod or mirror. */
export async function keepMirrors(
  half: PodsHalf,
  sources: PodSources,
  onChange: (wake: () => void) => Disposable,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { mirrors } = half;
  if (!mirrors) return;
  const once = () => (sources.ready() ? mirrors.syncOnce(signal) : Promise.resolve(false));
  await repeat({ signal, onChange, once, periodMs: mirrorCheckMs, log, failure: 'cannot keep mirror pods' });
}

export async function keepHouse(
  host: HostParts,
  half: PodsHalf,
  volumes: VolumeManager,
  sources: PodSources,
  events: EventSink,
  orphans: Metrics['orphans'],
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { workers, manager, cache, pleg, sandboxes } = half;
  const node = { kind: 'Node', name: host.nodeName, uid: host.nodeName };
  const options = {
    ready: () => sources.ready() && pleg.healthy,
    isKnown: (uid: Parameters<typeof manager.get>[0]) =>
      manager.get(uid) !== undefined || workers.view(uid) !== undefined || cache.get(uid) !== undefined,
    withoutWorker: (uid: Parameters<typeof manager.get>[0], work: () => Promise<void>) =>
      workers.withoutWorker(uid, work),
    podsOnDisk: () => volumes.podsOnDisk(),
    podsWithCgroup: async () => (await host.qosCgroups.listPods()).keys(),
    tearDownVolumes: async (uid: Parameters<typeof manager.get>[0], s: AbortSignal) => {
      try {
        await volumes.tearDown(uid, s);
        orphans.cleaned.add(1);
      } catch (error) {
        orphans.errors.add(1);
        throw error;
      }
    },
    removePodDir: async (uid: Parameters<typeof manager.get>[0]) => {
      await volumes.removePodDir(uid);
      await sandboxes.release(uid);
    },
    removeCgroup: async (uid: Parameters<typeof manager.get>[0], s: AbortSignal) => {
      const name = (await host.qosCgroups.listPods()).get(uid);
      if (name) await host.qosCgroups.removePod(name, s);
    },
    tell: (...about: ['Normal' | 'Warning', string, string]) => events.event(node, ...about),
    log,
  };
  while (!signal.aborted) {
    const ready = options.ready();
    orphans.cleaned.set(0);
    orphans.errors.set(0);
    const isClean = await housekeepOnce(options, signal).catch((error: unknown) => {
      if (!signal.aborted) log.warn(errorFields(error), 'housekeeping failed');
      return false;
    });
    const delay = isClean ? housekeepingPeriodMs : ready ? leftoversRetryMs : retryMs;
    await clock.sleep(delay, signal).catch(() => {});
  }
}

interface Repeat {
  readonly signal: AbortSignal;
  readonly onChange: (wake: () => void) => Disposable;
  /** Resolves with whether everything is as it should be. */
  readonly once: () => Promise<boolean>;
  readonly periodMs: number;
  readonly log: Log;
  /** What to say when it fails, once until it has worked again. */
  readonly failure: string;
}

/** Runs `once` now, at every wake, after `periodMs`, and soon again while it fails or says that it is not done. */
async function repeat({ signal, onChange, once, periodMs, log, failure }: Repeat): Promise<void> {
  let failing = false;
  let woken = Promise.withResolvers<void>();
  using _subscription = onChange(() => woken.resolve());
  while (!signal.aborted) {
    woken = Promise.withResolvers<void>();
    const done = await once().catch((error: unknown) => {
      if (!signal.aborted && !failing) log.warn(errorFields(error), failure);
      failing = true;
      return false;
    });
    if (done) failing = false;
    using pause = new Pause(done ? periodMs : retryMs, signal);
    await Promise.race([woken.promise, pause.over]);
  }
}

/** A sleep that ends with its scope. */
class Pause implements Disposable {
  readonly over: Promise<void>;
  readonly #end = new AbortController();

  constructor(ms: number, signal: AbortSignal) {
    this.over = clock.sleep(ms, AbortSignal.any([signal, this.#end.signal])).catch(() => {});
  }

  [Symbol.dispose](): void {
    this.#end.abort();
  }
}
