import type { Node, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { PodUid } from '../api/ids.ts';
import type { Config } from '../config/config.ts';
import { createKubeClient, type KubeClient } from '../kubeapi/client.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { ManifestDir } from '../pod/manifest-dir.ts';
import { Complaints } from '../proxy/complaints.ts';
import type { DualProxier } from '../proxy/dual-proxier.ts';
import { computeLocalSlices } from '../proxy/local-slices.ts';
import { ServiceFeed } from '../proxy/service-feed.ts';
import { nextWithdrawn, type Withdrawn } from '../proxy/withdraw.ts';
import type { HostParts } from './host-parts.ts';
import { addressesOf, localPodEndpoints, localPods } from './local-pods.ts';
import { LocalWithdrawal } from './local-withdrawal.ts';
import type { Metrics } from './metrics-part.ts';
import type { PodsHalf } from './pods-half.ts';
import { buildProxyParts } from './proxy-parts.ts';

export interface ServicesHalfInput {
  readonly config: Config;
  readonly host: HostParts;
  readonly api: KubeClient | undefined;
  readonly files: ManifestDir | undefined;
  readonly pods: () => PodsHalf;
  readonly node: () => Node | undefined;
  readonly onNodeChange: (wake: () => void) => Disposable;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Ends what is asked of the host at the start. */
  readonly signal: AbortSignal;
}

/** kube-proxy's half. */
export interface ServicesHalf {
  /** What is known now: the environment of pods is made from it. */
  services(): Iterable<Service>;
  /** Resolves when the Services are known for the first time. */
  readonly synced: Promise<void>;
  /** A local pod's readiness or address may have changed: standalone, that is where endpoints come from. */
  podChanged(uid: PodUid): void;
  /** Resolves when a pod that has begun to end gets no connections any more; see `LocalWithdrawal`. */
  leaveServices(uid: PodUid, signal: AbortSignal): Promise<void>;
  /** What is asked of Services on this machine. */
  readonly proxier: DualProxier;
  /** All EndpointSlices of a Service, by its namespace/name. */
  slicesOf(serviceKey: string): readonly EndpointSlice[];
  run(signal: AbortSignal): Promise<void>;
}

/**
 * With an API server the proxy follows Services and EndpointSlices there, under its own identity where
 * the configuration gives one. Without, the manifest directory holds the Services, and the local pods
 * that their selectors match are the endpoints.
 */
export async function buildServicesHalf(input: ServicesHalfInput): Promise<ServicesHalf> {
  const { api, host } = input;
  // Credentials that cannot be used end the start: that is found out before anything is tried on the host.
  const own = api && (await connectProxy(input));
  const parts = await buildProxyParts({ ...input, nodeName: host.nodeName });
  const half = api ? fromApi(input, { api, own }, parts.proxier) : fromManifests(input, parts.proxier);
  return {
    ...half,
    run: async (signal) => {
      await Promise.all([half.run(signal), parts.run(signal)]);
    },
  };
}

/** The proxy's own identity, where the configuration gives one. */
async function connectProxy({ config, metrics, log }: ServicesHalfInput): Promise<KubeClient | undefined> {
  const { kubeconfig, qps, burst } = config.proxy.clientConnection;
  if (!kubeconfig) return undefined;
  try {
    return await createKubeClient({
      ...{ kubeconfig, qps, burst, userAgent: 'keelson-proxy', clock, log },
      metrics: metrics.proxyRest,
    });
  } catch (error) {
    if (!(error instanceof AgentError) || error.code !== 'KubeconfigUnreadable') throw error;
    const hint =
      "check clientConnection.kubeconfig of the KubeProxyConfiguration; without it the node's identity is used";
    throw new AgentError(error.code, error.message, { cause: error, hint });
  }
}

function fromApi(
  { config, host, log, pods }: ServicesHalfInput,
  { api, own }: { readonly api: KubeClient; readonly own: KubeClient | undefined },
  proxier: DualProxier,
): ServicesHalf {
  let withdrawn: Withdrawn = new Map();
  const local = new LocalWithdrawal({
    tell: () => {
      withdrawn = nextWithdrawn(withdrawn, localPodEndpoints(pods()), (key) => proxier.isLocalEndpoint(key));
      proxier.onWithdrawn(withdrawn);
    },
    addressesOf: (uid) => addressesOf(pods(), uid),
    ...{ proxier, clock, log },
  });
  const { nodeName } = host;
  const resyncMs = config.proxy.configSyncPeriod;
  const feed = new ServiceFeed({ api: own ?? api, nodeName, proxier, resyncMs, clock, log });
  return {
    proxier,
    services: () => feed.services.values(),
    slicesOf: (serviceKey) => feed.slicesOf(serviceKey),
    synced: feed.servicesSynced,
    podChanged: () => local.podChanged(),
    leaveServices: (uid, signal) => local.leaveServices(uid, signal),
    run: async (signal) => {
      await Promise.all([feed.run(signal), proxier.run(signal)]);
      await own?.close();
    },
  };
}

function fromManifests({ host, files, pods, log }: ServicesHalfInput, proxier: DualProxier): ServicesHalf {
  const services = () => files?.snapshot().services ?? [];
  const known = { services: new Map<string, Service>(), slices: new Map<string, EndpointSlice>() };
  const complaints = new Complaints(log);

  const update = () => {
    const current = new Map(services().map((s) => [`${s.metadata.namespace ?? 'default'}/${s.metadata.name}`, s]));
    for (const key of known.services.keys()) if (!current.has(key)) proxier.onServiceChange(key, undefined);
    for (const [key, service] of current)
      if (known.services.get(key) !== service) proxier.onServiceChange(key, service);
    known.services = current;
    const { slices, problems } = computeLocalSlices(current.values(), [...localPods(pods())], host.nodeName);
    for (const key of known.slices.keys()) if (!slices.has(key)) proxier.onSliceChange(key, undefined);
    for (const [key, slice] of slices) proxier.onSliceChange(key, slice);
    known.slices = new Map(slices);
    const faults = problems.map(({ service, problem }) => ({ about: `Service ${service}`, text: problem }));
    complaints.found('local endpoints', faults, 'this Service gets no endpoints');
  };
  const local = new LocalWithdrawal({
    tell: () => {
      update();
      // What is known of pods here is all that is ever known of endpoints.
      proxier.hurry();
    },
    addressesOf: (uid) => addressesOf(pods(), uid),
    ...{ proxier, clock, log },
  });
  return {
    ...{ proxier, services },
    slicesOf: (serviceKey) =>
      [...known.slices.values()].filter(
        ({ metadata: { namespace, labels } }) => `${namespace}/${labels?.[serviceNameLabel]}` === serviceKey,
      ),
    synced: files?.synced ?? Promise.resolve(),
    podChanged: () => local.podChanged(),
    leaveServices: (uid, signal) => local.leaveServices(uid, signal),
    run: async (signal) => {
      using _files = files?.onChange(() => local.podChanged());
      void files?.synced.then(() => {
        local.tellNow();
        proxier.sourcesSynced();
      });
      await proxier.run(signal);
    },
  };
}
