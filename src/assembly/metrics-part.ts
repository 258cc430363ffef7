import { X509Certificate } from 'node:crypto';
import { podUid } from '../api/ids.ts';
import { containersOf } from '../api/pod.ts';
import { type RuntimeMetrics, runtimeMetrics } from '../cri/instrument.ts';
import type { ImageService } from '../cri/services.ts';
import { cgroupDuration } from '../host/instrument-cgroups.ts';
import { processMetrics } from '../host/process-metrics.ts';
import type { KubeClient } from '../kubeapi/client.ts';
import { type RestMetrics, restMetrics } from '../kubeapi/rest-metrics.ts';
import { type ImageMetrics, imageMetrics } from '../kuberuntime/image-metrics.ts';
import {
  containerType,
  type HookMetrics,
  hookMetrics,
  type StartMetrics,
  startMetrics,
} from '../kuberuntime/start-metrics.ts';
import { buildMetrics } from '../lib/build-metrics.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { type Counter, type Gauge, type Histogram, Registry } from '../lib/metrics.ts';
import { kubeletVersion } from '../node/generate-node-status.ts';
import type { Pleg, PlegOptions } from '../pod/pleg.ts';
import { type PlegMetrics, plegMetrics, terminatedContainers } from '../pod/pleg-metrics.ts';
import type { PodManager } from '../pod/pod-manager.ts';
import { probeDuration, probeTotals } from '../probes/probe-metrics.ts';
import { type ProxyMetrics, proxyMetrics } from '../proxy/proxy-metrics.ts';
import { podMetrics } from '../server/pod-metrics.ts';
import { PodStartTracker, podStartMetrics } from '../status/pod-start-tracker.ts';
import { version } from '../version.ts';
import type { VolumeManager } from '../volumes/volume-manager.ts';
import { type VolumeMetrics, volumeMetrics, volumeTotals } from '../volumes/volume-metrics.ts';
import { type WorkerMetrics, workerMetrics } from '../workers/worker-metrics.ts';
import type { HostParts } from './host-parts.ts';
import type { PodsHalf } from './pods-half.ts';

/** Everything that is counted, and where it is shown. */
export interface Metrics {
  /** `/metrics`, `/metrics/probes` and `/metrics/slis` of the node's port. */
  readonly node: Registry;
  readonly probes: Registry;
  readonly slis: Registry;
  /** `/metrics` and `/metrics/slis` of the proxy's. */
  readonly proxy: Registry;
  readonly proxySlis: Registry;

  readonly runtime: RuntimeMetrics;
  readonly cgroups: Histogram;
  readonly rest: RestMetrics;
  readonly proxyRest: RestMetrics;
  readonly pleg: PlegMetrics;
  readonly terminated: Counter;
  readonly workers: WorkerMetrics;
  readonly containers: StartMetrics;
  readonly hooks: HookMetrics;
  readonly images: ImageMetrics;
  readonly volumes: VolumeMetrics;
  readonly podStarts: PodStartTracker;
  readonly statusSync: Histogram;
  readonly probeDuration: Histogram;
  readonly orphans: { readonly cleaned: Gauge; readonly errors: Gauge };
  /** Without the failures, whose name says the mode. */
  readonly services: ProxyMetrics;
}

/** Made before anything else, so that everything else can count. */
export function buildAllMetrics(log: Log): Metrics {
  const registry = () => new Registry((error) => log.warn(errorFields(error), 'some metrics cannot be read'));
  const [node, probes, slis, proxy, proxySlis] = [registry(), registry(), registry(), registry(), registry()];
  const build = { kubernetesVersion: kubeletVersion(version), version };
  for (const each of [node, proxy]) {
    processMetrics(each);
    buildMetrics(each, build);
  }
  const startTime = 'process_start_time_seconds';
  const startedAt = (clock.now() - process.uptime() * 1000) / 1000;
  probes.gauge({ name: startTime, help: 'When this process was started, in seconds since the epoch.' }).set(startedAt);
  const orphans = (name: string, help: string) => node.gauge({ name: `kubelet_orphan_pod_cleaned_${name}`, help });
  return {
    ...{ node, probes, slis, proxy, proxySlis },
    runtime: runtimeMetrics(node),
    cgroups: cgroupDuration(node),
    rest: restMetrics(node),
    proxyRest: restMetrics(proxy),
    pleg: plegMetrics(node),
    terminated: terminatedContainers(node),
    workers: workerMetrics(node),
    containers: startMetrics(node),
    hooks: hookMetrics(node),
    images: imageMetrics(node),
    volumes: volumeMetrics(node),
    podStarts: new PodStartTracker(podStartMetrics(node), clock),
    statusSync: node.histogram({
      name: 'kubelet_pod_status_sync_duration_seconds',
      help: 'Time from the change of a pod status to the API server.',
      buckets: [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60],
    }),
    probeDuration: probeDuration(probes),
    orphans: {
      cleaned: orphans('volumes', 'Orphaned pods whose volumes the last housekeeping took down.'),
      errors: orphans('volumes_errors', 'Orphaned pods whose volumes it could not take down.'),
    },
    services: proxyMetrics(proxy),
  };
}

export interface WatchedParts {
  readonly host: HostParts;
  readonly podsHalf: PodsHalf;
  readonly volumes: VolumeManager;
  readonly api: KubeClient | undefined;
}

/** What is read at the scrape, from whoever knows it. */
export function readAtScrape({ node, probes }: Metrics, { host, podsHalf, volumes, api }: WatchedParts): void {
  podMetrics(node, podsHalf);
  volumeTotals(node, () => volumes.volumes());
  probeTotals(probes, () => podsHalf.probes);
  const gauge = (name: string, help: string, ...labels: readonly string[]) =>
    ({ name: `kubelet_${name}`, help, labels, type: 'gauge' }) as const;
  const lastSeen = gauge('pleg_last_seen_seconds', 'When the runtime was last listed, in seconds since the epoch.');
  const ttl = gauge('certificate_manager_client_ttl_seconds', 'How long the certificate for the API server is valid.');
  node.collect([lastSeen, ttl], async (emit) => {
    emit(lastSeen.name, lastSeenAt(podsHalf.pleg));
    const certificate = await api?.clientCertificate();
    if (!certificate) return;
    emit(ttl.name, (Date.parse(new X509Certificate(certificate).validTo) - clock.now()) / 1000);
  });
  const name = gauge('node_name', 'The name of this node.', 'node');
  node.gauge(name).set(1, host.nodeName);
  node.gauge(gauge('cgroup_version', 'The version of the cgroups that pods are in.')).set(host.resources.cgroupVersion);
}

function lastSeenAt({ lastRelistAt }: Pleg): number | undefined {
  if (!Number.isFinite(lastRelistAt)) return undefined;
  return (clock.now() - (clock.monotonic() - lastRelistAt)) / 1000;
}

/** Counts the ends of containers by what they were in their pod. */
export function countEnds(terminated: Counter, manager: Pick<PodManager, 'get'>): NonNullable<PlegOptions['ended']> {
  return (uid, { name, exitCode, reason }) => {
    const pod = manager.get(uid)?.pod;
    const known = pod && containersOf(pod).find(({ container }) => container.name === name);
    terminated.inc(containerType(known?.type), String(exitCode), reason);
  };
}

/** The same service, which tells how long pods waited for their images. */
export function measurePulls(images: ImageService, starts: PodStartTracker): ImageService {
  return {
    ...images,
    pullImage: async (image, auth, sandboxConfig, signal) => {
      const from = clock.now();
      try {
        return await images.pullImage(image, auth, sandboxConfig, signal);
      } finally {
        starts.pulled(podUid(sandboxConfig.metadata?.uid ?? ''), from, clock.now());
      }
    },
  };
}
