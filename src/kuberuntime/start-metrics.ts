import type { Counter, Registry } from '../lib/metrics.ts';
import type { StartAction } from './pod-actions.ts';

/** What is counted of lifecycle hooks. */
export interface HookMetrics {
  /** Hooks over HTTPS that a plain HTTP server answered. */
  readonly httpFallbacks: Counter;
  /** Hooks that were to sleep longer than there was time. */
  readonly cutSleeps: Counter;
}

/** What is counted of containers that start. */
export interface StartMetrics {
  readonly started: Counter;
  readonly failed: Counter;
}

export function hookMetrics(registry: Registry): HookMetrics {
  return {
    httpFallbacks: registry.counter({
      name: 'kubelet_lifecycle_handler_http_fallbacks_total',
      help: 'Lifecycle hooks for HTTPS that were answered over HTTP.',
    }),
    cutSleeps: registry.counter({
      name: 'kubelet_sleep_action_terminated_early_total',
      help: 'Lifecycle hooks whose sleep was cut short.',
    }),
  };
}

export function startMetrics(registry: Registry): StartMetrics {
  return {
    started: registry.counter({
      name: 'kubelet_started_containers_total',
      help: 'Containers that were to be started.',
      labels: ['container_type'],
    }),
    failed: registry.counter({
      name: 'kubelet_started_containers_errors_total',
      help: 'Containers that could not be started, by the reason.',
      labels: ['container_type', 'code'],
    }),
  };
}

/** Upstream's word for a kind of container. */
export function containerType(kind: StartAction['kind'] | 'regular' | undefined): string {
  if (kind === 'init') return 'init_container';
  return kind === 'ephemeral' ? 'ephemeral_container' : 'container';
}
