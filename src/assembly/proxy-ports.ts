import type { Node } from '../api/core-v1.ts';
import type { Config } from '../config/config.ts';
import { printProxyConfig } from '../config/print-config.ts';
import { splitIpPort } from '../config/values.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { healthMetrics } from '../lib/health-metrics.ts';
import type { Log } from '../lib/log.ts';
import type { ProxyMode } from '../proxy/backend.ts';
import { healthAnswers, metricsAnswers } from '../proxy/proxy-answers.ts';
import type { ProxyHealth } from '../proxy/proxy-health.ts';
import { PlainServer, type PlainServerOptions } from '../server/plain-server.ts';
import { maxProfileSeconds, type Profiles, takeProfiles } from '../server/profiles.ts';
import type { Metrics } from './metrics-part.ts';

export interface ProxyPortsInput {
  readonly config: Config;
  readonly mode: ProxyMode;
  readonly hasIpv6: boolean;
  readonly metrics: Metrics;
  readonly health: Pick<ProxyHealth, 'healthy' | 'updatedAt'>;
  readonly node: () => Node | undefined;
  readonly log: Log;
}

/**
 * The two ports of kube-proxy: one for load balancers, one for its operators. Resolves when the signal is aborted; with
 * `bindAddressHardFail` it rejects when one cannot be had.
 */
export async function serveProxyPorts(input: ProxyPortsInput, signal: AbortSignal): Promise<void> {
  const { config, mode, metrics, health, node, log } = input;
  const { proxy, proxySlis } = metrics;
  const { healthzBindAddress, metricsBindAddress, bindAddressHardFail: failsHard } = config.proxy;
  healthMetrics(proxySlis, [{ name: 'ping', problem: () => undefined }]);
  const kind = 'KubeProxyConfiguration';
  const server = (place: string, keys: string, what: string, answer: PlainServerOptions['answer'], patient = {}) => {
    const { address, port } = splitIpPort(place);
    const all = allAddresses(address, input.hasIpv6);
    return new PlainServer({ address: all, port, keys, kind, what, answer, failsHard, clock, log, ...patient });
  };
  const asked = healthAnswers({ health, node, clock, registry: proxy });
  const inForce = printProxyConfig({ ...config.proxy, mode });
  const shown = metricsAnswers({ registry: proxy, slis: proxySlis, config: inForce, mode });
  const profiles = config.proxy.enableProfiling ? takeProfiles(clock) : undefined;
  const patient = profiles ? { patienceMs: (maxProfileSeconds + 10) * 1000 } : {};
  await Promise.all([
    server(healthzBindAddress, 'healthzBindAddress', "the proxy's health", asked).run(signal),
    server(metricsBindAddress, 'metricsBindAddress', "the proxy's metrics", withProfiles(shown, profiles), patient).run(
      signal,
    ),
  ]);
}

/** Go takes an address that stands for all of one family for all of both; so do load balancers that know the port. */
const allAddresses = (address: string, hasIpv6: boolean): string =>
  address === '0.0.0.0' || address === '::' ? (hasIpv6 ? '::' : '0.0.0.0') : address;

const pprof = '/debug/pprof/';

function withProfiles(
  shown: PlainServerOptions['answer'],
  profiles: Profiles | undefined,
): PlainServerOptions['answer'] {
  if (!profiles) return shown;
  return async (path, query, signal) => {
    if (!path.startsWith(pprof)) return shown(path, query, signal);
    return { status: 200, ...(await profiles(path.slice(pprof.length), query, signal)) };
  };
}
