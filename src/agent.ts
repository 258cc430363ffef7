import { eventReason } from './api/reasons.ts';
import { buildAdmin } from './assembly/admin-part.ts';
import { buildHostParts } from './assembly/host-parts.ts';
import { keepHouse, keepMirrors, keepPodNetwork, startPods } from './assembly/loops.ts';
import { buildAllMetrics, type Metrics, readAtScrape } from './assembly/metrics-part.ts';
import { buildNodeHalf } from './assembly/node-half.ts';
import { buildPodsHalf, type PodsHalf } from './assembly/pods-half.ts';
import { buildServerHalf } from './assembly/server-half.ts';
import { buildServicesHalf } from './assembly/services-half.ts';
import { buildStatsPart } from './assembly/stats-part.ts';
import type { Config } from './config/config.ts';
import { hostExec } from './host/exec.ts';
import { HostMounts } from './host/mount-table.ts';
import { setOomScoreAdj } from './host/oom-score-adj.ts';
import { RemoteFiles } from './host/remote-files.ts';
import { lockRootDir } from './host/root-lock.ts';
import { SystemdNotifier, takeNotifyEnvironment } from './host/sd-notify.ts';
import { createKubeClient, type KubeClient } from './kubeapi/client.ts';
import { EventRecorder, LogEventSink } from './kubeapi/event-recorder.ts';
import type { EventSink } from './kubeapi/event-sink.ts';
import { Reflector } from './kubeapi/reflector.ts';
import { pods, runtimeClasses } from './kubeapi/resources.ts';
import { orAborted } from './lib/aborted.ts';
import { systemClock as clock } from './lib/clock.ts';
import type { Log } from './lib/log.ts';
import { Tasks } from './lib/tasks.ts';
import { apiPodSchema } from './pod/api-pod-schema.ts';
import { ManifestDir } from './pod/manifest-dir.ts';
import { PodSources } from './pod/sources.ts';
import { version } from './version.ts';
import { ApiObjectSource } from './volumes/api-object-source.ts';
import { ManifestObjectSource } from './volumes/manifest-object-source.ts';
import { VolumeManager } from './volumes/volume-manager.ts';

/** Events tell of the past: they do not compete with what happens now. */
const eventLingerMs = 1_000;
/** A relist that has not worked for so long means that the process, not the runtime, needs help; upstream's threshold. */
const unhealthyAfterMs = 180_000;

/**
 * Builds the whole daemon out of the config and runs it until the signal is aborted. Everything is made
 * here, by constructors, in the order of the folders; nothing is found through a registry. Stopping
 * leaves containers and Service rules as they are: the next start adopts them.
 */
export async function runAgent(config: Config, log: Log, signal: AbortSignal): Promise<void> {
  const started = clock.monotonic();
  const { kubelet, flags } = config;
  const notifyEnvironment = takeNotifyEnvironment(process.env, process.pid);
  const notifier = new SystemdNotifier({ environment: notifyEnvironment, exec: hostExec, clock, log });
  await using _lock = await lockRootDir(flags.rootDir);
  const metrics = buildAllMetrics(log);
  const host = await buildHostParts(config, metrics, log);
  const api = await connect(config, metrics, log);
  const tasks = new Tasks(log);

  const recorder =
    api &&
    new EventRecorder({
      api,
      component: 'kubelet',
      host: host.nodeName,
      qps: kubelet.eventRecordQPS,
      burst: kubelet.eventBurst,
      lingerMs: eventLingerMs,
      clock,
      log,
    });
  const events = recorder ?? new LogEventSink(log);
  const files = kubelet.staticPodPath
    ? new ManifestDir({
        dir: kubelet.staticPodPath,
        nodeName: host.nodeName,
        fileCheckFrequencyMs: kubelet.fileCheckFrequency,
        clock,
        log,
      })
    : undefined;
  const podFeed =
    api &&
    new Reflector({
      ...{ api, resource: pods, shape: apiPodSchema, clock, log },
      query: { fieldSelector: `spec.nodeName=${host.nodeName}` },
    });
  const classes = api && new Reflector({ api, resource: runtimeClasses, clock, log });
  const node = buildNodeHalf({ config, host, api, events, runtimeChanged: () => podsHalf.workers.wakeAll(), log });
  const objects = api ? new ApiObjectSource({ api, clock, log }) : manifestObjects(files);
  const mounts = new HostMounts(hostExec);
  const remoteFiles = new RemoteFiles({ mounts, rootDir: flags.rootDir, clock });
  const volumes = new VolumeManager({
    rootDir: flags.rootDir,
    objects,
    mounts,
    files: remoteFiles,
    exec: hostExec,
    clock,
    log,
    api,
    events,
    node: () => node.controller.current(),
    wake: (uid) => podsHalf.workers.wake(uid),
    allocatable: () => node.controller.current()?.status?.allocatable ?? {},
    metrics: metrics.volumes,
  });
  const current = () => node.controller.current();
  const services = await buildServicesHalf({
    ...{ config, host, api, files, metrics, log, signal },
    pods: () => podsHalf,
    node: current,
    onNodeChange: (wake) => node.controller.onChange(wake),
  });
  const podsHalf: PodsHalf = buildPodsHalf({
    config,
    host,
    api,
    events,
    volumes,
    objects,
    node: () => node.controller.current(),
    refreshNode: (s) => node.controller.refresh(s),
    services: () => services.services(),
    leaveServices: (uid, s) => services.leaveServices(uid, s),
    servicesSynced: services.synced,
    runtimeClasses: classes?.store,
    runtimeHandlers: () => node.monitor.state().handlers,
    networkProblem: () => node.monitor.problems().find((p) => p.includes('network')),
    runtimeName: () => node.monitor.state().name,
    sourcesReady: () => sources.ready(),
    statusChanged: (uid) => services.podChanged(uid),
    metrics,
    log,
  });
  readAtScrape(metrics, { host, podsHalf, volumes, api });
  files?.onChange(() => reportManifests(files, host.nodeName, events));
  const sources = new PodSources(podsHalf.manager, { api: podFeed, files });

  const stuck = () =>
    clock.monotonic() - Math.max(podsHalf.pleg.lastRelistAt, started) < unhealthyAfterMs
      ? undefined
      : ['sync Loop took longer than expected', ...node.monitor.problems()].join(': ');
  const stats = await buildStatsPart({ config, host, podsHalf, volumes, remoteFiles, log });
  const server = await buildServerHalf({ config, host, podsHalf, stats: stats.endpoints, stuck, metrics, log });

  // One process does the work of both: it is kept as the more cautious of the two says.
  await setOomScoreAdj(Math.min(kubelet.oomScoreAdj, config.proxy.oomScoreAdj), log);
  await host.qosCgroups.start(signal);
  await volumes.start(signal);
  await podsHalf.notes.load();
  await podsHalf.sandboxes.start();
  tasks.start('runtime monitor', node.monitor.run(signal));
  tasks.start('node', node.controller.run(signal));
  if (node.lease) tasks.start('lease', node.lease.run(signal));
  if (recorder) tasks.start('events', recorder.run(signal));
  tasks.start('services', services.run(signal));
  tasks.start('stats', stats.run(signal));
  tasks.start('pod network', keepPodNetwork(config, node.controller, log, signal));
  if (files) tasks.start('manifests', files.run(signal));
  // Who has a place is decided by what the Node has; without one everybody would be let in.
  if (podFeed)
    tasks.start(
      'pods',
      orAborted(node.controller.known, signal).then(() => podFeed.run(signal)),
    );
  if (classes) tasks.start('runtime classes', classes.run(signal));
  using _classChanges = classes?.subscribe((name) => wakePodsOfClass(podsHalf, name));
  const surroundings = Promise.all([services.synced, classes?.synced]);
  tasks.start('pod workers', startPods(podsHalf, surroundings, [files?.synced, podFeed?.synced], signal));
  tasks.start('log rotation', podsHalf.logRotator.run(signal));
  tasks.start('admin socket', buildAdmin(config, podsHalf, services, log).run(signal));
  tasks.start('ports', server.run(signal));
  tasks.start('housekeeping', keepHouse(host, podsHalf, volumes, sources, events, metrics.orphans, log, signal));
  const mirrorChanges = (wake: () => void) =>
    joinDisposables([podFeed?.subscribe(wake), files?.onChange(wake), node.controller.onChange(wake)]);
  tasks.start('mirror pods', keepMirrors(podsHalf, sources, mirrorChanges, log, signal));

  log.info({ node: host.nodeName, api: api !== undefined, rootDir: flags.rootDir }, 'keelson runs');
  await notifier.ready(`node ${host.nodeName}`, signal);
  tasks.start(
    'watchdog',
    notifier.runWatchdog(() => stuck() === undefined, signal),
  );

  await tasks.finished(signal);
  await notifier.stopping(AbortSignal.timeout(2_000));
  podsHalf.probes[Symbol.dispose]();
  await podsHalf.workers.stop();
  podsHalf.statuses.stop();
  host.cri.close();
  await api?.close();
}

/** Undefined when standalone. A kubeconfig that cannot be used ends the start; a server that cannot be reached does not. */
async function connect(config: Config, metrics: Metrics, log: Log): Promise<KubeClient | undefined> {
  const { kubeconfig } = config.flags;
  if (!kubeconfig) return undefined;
  return createKubeClient({
    kubeconfig,
    qps: config.kubelet.kubeAPIQPS,
    burst: config.kubelet.kubeAPIBurst,
    userAgent: `keelson/${version}`,
    clock,
    log,
    metrics: metrics.rest,
  });
}

/** A pod whose RuntimeClass was not there starts when it comes. */
function wakePodsOfClass({ manager, workers }: PodsHalf, name: string): void {
  for (const { uid, pod } of manager.all()) if (pod.spec.runtimeClassName === name) workers.wake(uid);
}

function joinDisposables(all: readonly (Disposable | undefined)[]): Disposable {
  return {
    [Symbol.dispose]: () => {
      for (const disposable of all) disposable?.[Symbol.dispose]();
    },
  };
}

function manifestObjects(files: ManifestDir | undefined): ManifestObjectSource {
  const objects = new ManifestObjectSource(() => files?.snapshot() ?? { configMaps: [], secrets: [] });
  files?.onChange(() => objects.changed());
  return objects;
}

/** A broken manifest is nobody's pod: its event is the node's. The recorder counts what it has said already. */
function reportManifests(files: ManifestDir, nodeName: string, events: EventSink): void {
  for (const { file, line, path, message, severity } of files.problems()) {
    if (severity !== 'refused') continue;
    const place = [file, ...(line === undefined ? [] : [line])].join(':');
    const text = `${place}: ${path ? `${path}: ` : ''}${message}`;
    events.event({ kind: 'Node', name: nodeName, uid: nodeName }, 'Warning', eventReason.failedValidation, text);
  }
}
