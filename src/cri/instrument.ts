import type * as cri from '../api/cri.ts';
import type { Clock } from '../lib/clock.ts';
import { type Counter, defaultBuckets, exponentialBuckets, type Histogram, type Registry } from '../lib/metrics.ts';
import type { CriClient } from './cri-client.ts';
import type { ImageService, RuntimeService } from './services.ts';

/** What the calls to the runtime are counted by. */
export interface RuntimeMetrics {
  readonly operations: Counter;
  readonly duration: Histogram;
  readonly errors: Counter;
  readonly sandboxDuration: Histogram;
  readonly sandboxErrors: Counter;
  readonly startedPods: Counter;
  readonly startedPodErrors: Counter;
  readonly startedUserNamespacedPods: Counter;
  readonly startedUserNamespacedPodErrors: Counter;
}

export function runtimeMetrics(registry: Registry): RuntimeMetrics {
  const labels = ['operation_type'];
  const handler = ['runtime_handler'];
  const started = (what: string, ending: string, help: string) =>
    registry.counter({ name: `kubelet_started_${what}_${ending}`, help });
  return {
    operations: registry.counter({ name: 'kubelet_runtime_operations_total', help: 'Calls of the runtime.', labels }),
    duration: registry.histogram({
      name: 'kubelet_runtime_operations_duration_seconds',
      help: 'How long calls of the runtime took.',
      labels,
      buckets: exponentialBuckets(0.005, 2.5, 14),
    }),
    errors: registry.counter({
      name: 'kubelet_runtime_operations_errors_total',
      help: 'Calls of the runtime that failed.',
      labels,
    }),
    sandboxDuration: registry.histogram({
      name: 'kubelet_run_podsandbox_duration_seconds',
      help: 'How long the runtime took to make a sandbox.',
      labels: handler,
      buckets: defaultBuckets,
    }),
    sandboxErrors: registry.counter({
      name: 'kubelet_run_podsandbox_errors_total',
      help: 'Sandboxes that the runtime could not make.',
      labels: handler,
    }),
    startedPods: started('pods', 'total', 'Sandboxes that were to be made.'),
    startedPodErrors: started('pods', 'errors_total', 'Sandboxes that could not be made.'),
    startedUserNamespacedPods: started('user_namespaced_pods', 'total', 'The same, with user ids of their own.'),
    startedUserNamespacedPodErrors: started(
      'user_namespaced_pods',
      'errors_total',
      'Those with user ids of their own that could not be made.',
    ),
  };
}

/** Names of operations that do not follow from the method's: upstream's spelling, which dashboards filter by. */
const oddNames: Readonly<Record<string, string>> = {
  runPodSandbox: 'run_podsandbox',
  stopPodSandbox: 'stop_podsandbox',
  removePodSandbox: 'remove_podsandbox',
  podSandboxStatus: 'podsandbox_status',
  listPodSandbox: 'list_podsandbox',
  updateContainerResources: 'update_container',
};

export const operationName = (method: string): string =>
  oddNames[method] ?? method.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The same client, with every call counted and timed. A call that we gave up ourselves counts as an error, as upstream. */
export function instrumentCri(client: CriClient, metrics: RuntimeMetrics, clock: Clock): CriClient {
  const runtime = timed(client.runtime, metrics, clock);
  return {
    ...client,
    runtime: { ...runtime, runPodSandbox: countedSandboxes(runtime, metrics, clock) },
    images: timed<ImageService>(client.images, metrics, clock),
  };
}

/** Methods are the service's own members. Those that give no promise (streams) pass through. */
function timed<T extends object>(service: T, metrics: RuntimeMetrics, clock: Clock): T {
  const methods = Object.entries(service).map(([name, method]) => {
    const operation = operationName(name);
    const call = (...args: unknown[]): unknown => {
      const startedAt = clock.monotonic();
      const result: unknown = method(...args);
      if (!(result instanceof Promise)) return result;
      const over = () => {
        metrics.operations.inc(operation);
        metrics.duration.observe((clock.monotonic() - startedAt) / 1000, operation);
      };
      return result.then(
        (value) => {
          over();
          return value;
        },
        (error: unknown) => {
          over();
          metrics.errors.inc(operation);
          throw error;
        },
      );
    };
    return [name, call];
  });
  return Object.fromEntries(methods) as T;
}

function countedSandboxes(
  runtime: RuntimeService,
  metrics: RuntimeMetrics,
  clock: Clock,
): RuntimeService['runPodSandbox'] {
  return async (config, handler, signal) => {
    const own = hasOwnUsers(config);
    const startedAt = clock.monotonic();
    metrics.startedPods.inc();
    if (own) metrics.startedUserNamespacedPods.inc();
    try {
      return await runtime.runPodSandbox(config, handler, signal);
    } catch (error) {
      metrics.sandboxErrors.inc(handler);
      metrics.startedPodErrors.inc();
      if (own) metrics.startedUserNamespacedPodErrors.inc();
      throw error;
    } finally {
      metrics.sandboxDuration.observe((clock.monotonic() - startedAt) / 1000, handler);
    }
  };
}

const hasOwnUsers = (config: cri.PodSandboxConfig): boolean =>
  (config.linux?.securityContext?.namespaceOptions?.usernsOptions?.uids?.length ?? 0) > 0;
