import type { Config } from '../config/config.ts';
import { hostExec } from '../host/exec.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { PodNetwork } from '../network/pod-network.ts';
import type { NodeController } from '../node/node-controller.ts';
import type { PodSources } from '../pod/sources.ts';
import type { VolumeManager } from '../volumes/volume-manager.ts';
import { housekeepOnce } from '../workers/housekeeping.ts';
import type { HostParts } from './host-parts.ts';
import type { PodsHalf } from './pods-half.ts';

/*
 * The few loops that belong to no single part: each looks when something it depends on has changed, and
 * again after a while where it did not work.
 */

/** Leftovers of a killed predecessor are looked for at start and then rarely: nothing else makes them. */
const housekeepingPeriodMs = 120_000;
const retryMs = 2_000;

/** Pods may start without the Services' variables after this long: an API server that is away must not keep static pods down. */
const servicesPatienceMs = 5_000;

/**
 * What is observed comes before what is desired: the workers begin when the runtime has been listed, or
 * every running pod would look unstarted. Once all sources have reported, what they did not name is
 * unwanted, and every pod is looked at again.
 */
export async function startPods(
  half: PodsHalf,
  servicesSynced: Promise<void>,
  sourcesSynced: readonly (Promise<void> | undefined)[],
  signal: AbortSignal,
): Promise<void> {
  const { pleg, runtimeEvents, workers } = half;
  const loops = [pleg.run(signal, () => runtimeEvents.flowing), runtimeEvents.run(signal)];
  await abortable(pleg.listed, signal);
  await Promise.race([servicesSynced, clock.sleep(servicesPatienceMs, signal).catch(() => {})]);
  if (!signal.aborted) workers.start();
  await abortable(Promise.all(sourcesSynced), signal);
  if (!signal.aborted) workers.wakeAll();
  await Promise.all(loops);
}

function abortable(wait: Promise<unknown>, signal: AbortSignal): Promise<unknown> {
  const aborted = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
  return Promise.race([wait, aborted]);
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
  let done = '';
  await repeat(
    signal,
    (wake) => controller.onChange(wake),
    async () => {
      const cidrs = wanted();
      if (cidrs.join() === done) return true;
      await network.ensure(cidrs, signal);
      done = cidrs.join();
      return true;
    },
    log,
    'cannot make the pod network',
  );
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
  await repeat(
    signal,
    onChange,
    () => (sources.ready() ? mirrors.syncOnce(signal) : Promise.resolve(false)),
    log,
    'cannot keep mirror pods',
  );
}

export async function keepHouse(
  host: HostParts,
  half: PodsHalf,
  volumes: VolumeManager,
  sources: PodSources,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const { workers, manager, cache, pleg } = half;
  const options = {
    ready: () => sources.ready() && pleg.healthy,
    isKnown: (uid: Parameters<typeof manager.get>[0]) =>
      manager.get(uid) !== undefined || workers.view(uid) !== undefined || cache.get(uid) !== undefined,
    podsOnDisk: () => volumes.podsOnDisk(),
    podsWithCgroup: async () => (await host.qosCgroups.listPods()).keys(),
    tearDownVolumes: (uid: Parameters<typeof manager.get>[0], s: AbortSignal) => volumes.tearDown(uid, s),
    removePodDir: (uid: Parameters<typeof manager.get>[0]) => volumes.removePodDir(uid),
    removeCgroup: async (uid: Parameters<typeof manager.get>[0], s: AbortSignal) => {
      const name = (await host.qosCgroups.listPods()).get(uid);
      if (name) await host.qosCgroups.removePod(name, s);
    },
    log,
  };
  while (!signal.aborted) {
    const ready = options.ready();
    await housekeepOnce(options, signal).catch((error: unknown) => {
      if (!signal.aborted) log.warn(errorFields(error), 'housekeeping failed');
    });
    await clock.sleep(ready ? housekeepingPeriodMs : retryMs, signal).catch(() => {});
  }
}

/** Runs `once` now, at every wake, and again after a pause while it says that it is not done. */
async function repeat(
  signal: AbortSignal,
  onChange: (wake: () => void) => Disposable,
  once: () => Promise<boolean>,
  log: Log,
  failure: string,
): Promise<void> {
  let failing = false;
  let woken = Promise.withResolvers<void>();
  using _subscription = onChange(() => woken.resolve());
  while (!signal.aborted) {
    woken = Promise.withResolvers<void>();
    const done = await once().catch((error: unknown) => {
      if (!signal.aborted && !failing) log.warn(errorFields(error), failure);
      return false;
    });
    failing = !done;
    const pause = new AbortController();
    const stop = () => pause.abort();
    signal.addEventListener('abort', stop, { once: true });
    const sleep = clock.sleep(done ? 2 ** 31 - 1 : retryMs, pause.signal).catch(() => {});
    await Promise.race([woken.promise, sleep]);
    signal.removeEventListener('abort', stop);
    pause.abort();
  }
}
