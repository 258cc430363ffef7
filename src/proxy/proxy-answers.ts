import type { Node } from '../api/core-v1.ts';
import type { Clock } from '../lib/clock.ts';
import { metricsContentType, type Registry } from '../lib/metrics.ts';
import type { ProxyMode } from './backend.ts';
import { healthReport, isEligible, type ProxyHealth } from './proxy-health.ts';

/** What is answered at a path of a proxy port. */
export interface ProxyAnswer {
  readonly status: number;
  readonly text: string;
  readonly contentType?: string;
}

type Answers = (path: string) => Promise<ProxyAnswer | undefined> | ProxyAnswer | undefined;

const json = 'application/json';

/** `healthzBindAddress`: what load balancers ask before they send connections here. */
export function healthAnswers(options: {
  readonly health: Pick<ProxyHealth, 'healthy' | 'updatedAt'>;
  readonly node: () => Node | undefined;
  readonly clock: Clock;
  readonly registry: Registry;
}): Answers {
  const { health, node, clock, registry } = options;
  const labels = ['code'];
  const counter = (name: string) =>
    registry.counter({ name: `kubeproxy_proxy_${name}_total`, help: `Answers of /${name}, by status.`, labels });
  const counters = { '/healthz': counter('healthz'), '/livez': counter('livez') };
  return (path) => {
    if (path !== '/healthz' && path !== '/livez') return undefined;
    const eligible = path === '/healthz' ? isEligible(node()) : undefined;
    const report = healthReport(health, clock.now(), eligible);
    counters[path].inc(String(report.status));
    return { ...report, contentType: json };
  };
}

/** `metricsBindAddress`: what people who look after the proxy ask. */
export function metricsAnswers(options: {
  readonly registry: Registry;
  /** Health as service level indicators. */
  readonly slis: Registry;
  /** The configuration in force. */
  readonly config: object;
  /** The one that is used, whatever was asked for. */
  readonly mode: ProxyMode;
}): Answers {
  const { registry, slis } = options;
  const configz = JSON.stringify({ 'kubeproxy.config.k8s.io': options.config });
  return async (path) => {
    switch (path) {
      case '/healthz':
      case '/healthz/ping':
        return { status: 200, text: 'ok' };
      case '/proxyMode':
        return { status: 200, text: options.mode };
      case '/configz':
        return { status: 200, text: configz, contentType: json };
      case '/metrics':
        return { status: 200, text: await registry.text(), contentType: metricsContentType };
      case '/metrics/slis':
        return { status: 200, text: await slis.text(), contentType: metricsContentType };
      default:
        return undefined;
    }
  };
}
