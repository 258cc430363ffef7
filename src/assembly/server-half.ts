import type { Pod } from '../api/core-v1.ts';
import type { SubjectAccessReviewSpec, TokenReviewStatus } from '../api/reviews-v1.ts';
import type { Config } from '../config/config.ts';
import { hostExec } from '../host/exec.ts';
import { programOutput } from '../host/program-output.ts';
import { createKubeClient, type KubeClient } from '../kubeapi/client.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import { subjectAccessReviews, tokenReviews } from '../kubeapi/resources.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { healthMetrics } from '../lib/health-metrics.ts';
import type { Log } from '../lib/log.ts';
import { Authenticator } from '../server/authenticate.ts';
import { Authorizer } from '../server/authorize.ts';
import { configzEndpoint } from '../server/configz.ts';
import { containerLogs } from '../server/container-logs.ts';
import { disabledEndpoint, disabledEndpoints } from '../server/disabled.ts';
import type { Endpoint } from '../server/endpoint.ts';
import { Guard } from '../server/guard.ts';
import { type HealthCheck, healthAnswer, healthEndpoint } from '../server/healthz.ts';
import { HttpMetrics } from '../server/http-metrics.ts';
import { metricsEndpoints } from '../server/metrics-endpoints.ts';
import { PlainServer } from '../server/plain-server.ts';
import { podsEndpoint, runningPodsEndpoint } from '../server/pods.ts';
import { profileEndpoint } from '../server/profiles.ts';
import { NodeServer } from '../server/server.ts';
import { ServingFiles } from '../server/serving-files.ts';
import { streamEndpoints } from '../server/stream-endpoints.ts';
import { systemLogs } from '../server/system-logs.ts';
import { tlsOptionsOf } from '../server/tls-settings.ts';
import { version } from '../version.ts';
import type { HostParts } from './host-parts.ts';
import type { Metrics } from './metrics-part.ts';
import type { PodsHalf } from './pods-half.ts';

export interface ServerHalfInput {
  readonly config: Config;
  readonly host: HostParts;
  readonly podsHalf: PodsHalf;
  /** What tells figures of the node and its pods. */
  readonly stats: readonly Endpoint[];
  /** Why keelson does not get on, in one sentence; undefined while it does. */
  readonly stuck: () => string | undefined;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** What answers on the node's ports. */
export interface ServerHalf {
  /** Runs until the signal is aborted. */
  readonly run: (signal: AbortSignal) => Promise<void>;
}

/** Reads the kubeconfig once more, for a connection of its own: callers of the port must not use up the agent's requests. */
export async function buildServerHalf(input: ServerHalfInput): Promise<ServerHalf> {
  const { config, metrics, log, stuck } = input;
  const { kubelet, flags } = config;
  const checks: readonly HealthCheck[] = [
    { name: 'ping', problem: () => undefined },
    { name: 'log', problem: () => undefined },
    { name: 'syncloop', problem: stuck },
  ];
  healthMetrics(metrics.slis, checks);
  const { healthzBindAddress: address, healthzPort: port } = kubelet;
  const health =
    port > 0
      ? new PlainServer({
          ...{ address, port, clock, log },
          keys: 'healthzBindAddress and healthzPort',
          kind: 'KubeletConfiguration',
          what: 'health',
          answer: (path, query) => healthAnswer(checks, path, query),
        })
      : undefined;
  const api = flags.kubeconfig === undefined ? undefined : await connect(flags.kubeconfig, log);
  const node = kubelet.enableServer ? buildNodeServer(input, endpointsOf(input, checks), api) : undefined;
  return {
    run: async (signal) => {
      await Promise.all([health?.run(signal), node?.run(signal)]);
      await api?.close();
    },
  };
}

/** Everything that is served at the node's port. */
function endpointsOf(
  { config, host, podsHalf, stats, metrics }: ServerHalfInput,
  checks: readonly HealthCheck[],
): Endpoint[] {
  const { kubelet } = config;
  const { node, probes, slis } = metrics;
  const shown = metricsEndpoints({ '/metrics': node, '/metrics/probes': probes, '/metrics/slis': slis });
  const always = [...shown, healthEndpoint(checks), podsEndpoint({ pods: () => podsOf(podsHalf) }), ...stats];
  if (!kubelet.enableDebuggingHandlers) return [...always, ...disabledEndpoints()];
  const profiles = kubelet.enableProfilingHandler
    ? profileEndpoint(clock)
    : disabledEndpoint('/debug/pprof/*', 'profiling endpoint is disabled.');
  const gates: Readonly<Record<string, boolean>> = kubelet.featureGates;
  const streams = streamEndpoints({
    runtime: host.cri.runtime,
    manager: podsHalf.manager,
    idleTimeoutMs: kubelet.streamingConnectionIdleTimeout,
    clock,
  });
  return [
    ...always,
    configzEndpoint(kubelet),
    runningPodsEndpoint({ runtime: host.cri.runtime }),
    profiles,
    ...streams,
    ...containerLogs({
      manager: podsHalf.manager,
      cache: podsHalf.cache,
      status: (uid) => podsHalf.statuses.get(uid),
      onPodChange: (uid, wake) => podsHalf.changes.subscribe(uid, wake),
      podLogsDir: kubelet.podLogsDir,
      splitStreams: gates['PodLogsQuerySplitStreams'] === true,
      clock,
    }),
    ...systemLogs({
      root: '/var/log',
      enabled: kubelet.enableSystemLogHandler,
      queries: kubelet.enableSystemLogQuery,
      exec: hostExec,
      output: programOutput,
    }),
  ];
}

/** Undefined, after a warning, on a node that could let nobody in. */
function buildNodeServer(
  { config, host, metrics, log }: ServerHalfInput,
  endpoints: readonly Endpoint[],
  api: KubeClient | undefined,
): NodeServer | undefined {
  const { kubelet, flags } = config;
  const { authentication, authorization, address, port } = kubelet;
  const webhook = authorization.mode === 'Webhook';
  if (webhook && !api) {
    const hint =
      'set authorization.mode of the KubeletConfiguration to AlwaysAllow, with authentication.x509.clientCAFile for those who may';
    log.info(
      { address, port, hint },
      "the node's port is not served: authorization by Webhook needs an API server, and there is none",
    );
    return undefined;
  }
  const authenticator = new Authenticator({
    anonymous: authentication.anonymous.enabled,
    reviewToken: api && authentication.webhook.enabled ? (token, signal) => reviewToken(api, token, signal) : undefined,
    tokenTtlMs: authentication.webhook.cacheTTL,
    clock,
  });
  const authorizer = new Authorizer({
    nodeName: host.nodeName,
    reviewAccess: api && webhook ? (spec, signal) => reviewAccess(api, spec, signal) : undefined,
    allowedTtlMs: authorization.webhook.cacheAuthorizedTTL,
    deniedTtlMs: authorization.webhook.cacheUnauthorizedTTL,
    clock,
  });
  const files = new ServingFiles({
    certFile: kubelet.tlsCertFile,
    keyFile: kubelet.tlsPrivateKeyFile,
    certDir: flags.certDir,
    hosts: [host.nodeName, ...host.nodeIps()],
    clientCaFile: authentication.x509.clientCAFile,
    clock,
    log,
  });
  const guard = new Guard({ authenticator, authorizer, log });
  const paths = endpoints.map((endpoint) => endpoint.path);
  const requests = new HttpMetrics(metrics.node, paths, clock);
  return new NodeServer({ address, port, tls: tlsOptionsOf(kubelet), files, endpoints, guard, requests, clock, log });
}

/** Not limited in its rate: what strangers can cause is limited where they are let in. */
const connect = (kubeconfig: string, log: Log): Promise<KubeClient> =>
  createKubeClient({ kubeconfig, qps: 0, userAgent: `keelson/${version}`, clock, log });

async function reviewToken(api: KubeApi, token: string, signal: AbortSignal): Promise<TokenReviewStatus> {
  const review = await api.create(tokenReviews, { metadata: { name: '' }, spec: { token } }, signal);
  return review.status ?? {};
}

async function reviewAccess(api: KubeApi, spec: SubjectAccessReviewSpec, signal: AbortSignal): Promise<boolean> {
  const review = await api.create(subjectAccessReviews, { metadata: { name: '' }, spec }, signal);
  return review.status?.allowed === true;
}

function* podsOf({ manager, statuses }: PodsHalf): Iterable<Pod> {
  for (const { uid, pod } of manager.all()) {
    const status = statuses.get(uid);
    yield status ? { ...pod, status } : pod;
  }
}
