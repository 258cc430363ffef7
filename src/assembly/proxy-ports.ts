import type { Node } from '../api/core-v1.ts';
import type { Config } from '../config/config.ts';
import { printProxyConfig } from '../config/print-config.ts';
import { splitIpPort } from '../config/values.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { healthMetrics } from '../lib/health-metrics.ts';
import type { Log } from '../lib/log.ts';
import { healthAnswers, metricsAnswers } from '../proxy/proxy-answers.ts';
import type { ProxyHealth } from '../proxy/proxy-health.ts';
import { PlainServer, type PlainServerOptions } from '../server/plain-server.ts';
import type { Metrics } from './metrics-part.ts';

export interface ProxyPortsInput {
  readonly config: Config;
  readonly metrics: Metrics;
  readonly health: Pick<ProxyHealth, 'healthy' | 'updatedAt'>;
  readonly node: () => Node | undefined;
  readonly log: Log;
}

/** The two ports of kube-proxy: one for load balancers, one for its operators. Resolves when the signal is aborted. */
export async function serveProxyPorts(input: ProxyPortsInput, signal: AbortSignal): Promise<void> {
  const { config, metrics, health, node, log } = input;
  const { proxy, proxySlis } = metrics;
  const { healthzBindAddress, metricsBindAddress } = config.proxy;
  healthMetrics(proxySlis, [{ name: 'ping', problem: () => undefined }]);
  const server = (place: string, keys: string, what: string, answer: PlainServerOptions['answer']) =>
    new PlainServer({ ...splitIpPort(place), keys, kind: 'KubeProxyConfiguration', what, answer, clock, log });
  const asked = healthAnswers({ health, node, clock, registry: proxy });
  const shown = metricsAnswers({ registry: proxy, slis: proxySlis, config: printProxyConfig(config.proxy) });
  await Promise.all([
    server(healthzBindAddress, 'healthzBindAddress', "the proxy's health", asked).run(signal),
    server(metricsBindAddress, 'metricsBindAddress', "the proxy's metrics", shown).run(signal),
  ]);
}
