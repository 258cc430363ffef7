import { existsSync } from 'node:fs';
import { cpus, networkInterfaces } from 'node:os';
import type { Node } from '../api/core-v1.ts';
import type { Config } from '../config/config.ts';
import { hostExec } from '../host/exec.ts';
import { orAborted } from '../lib/aborted.ts';
import { systemClock as clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import type { ProxyMode } from '../proxy/backend.ts';
import { Complaints } from '../proxy/complaints.ts';
import { applyConntrackSettings, computeConntrackSettings } from '../proxy/conntrack-settings.ts';
import { DualProxier } from '../proxy/dual-proxier.ts';
import { ModeSwitch } from '../proxy/mode-switch.ts';
import { Proxier } from '../proxy/proxier.ts';
import { ProxyHealth } from '../proxy/proxy-health.ts';
import type { BackendMetrics } from '../proxy/proxy-metrics.ts';
import { iptablesMetrics, noLocalEndpoints, pendingChanges, syncFailures } from '../proxy/proxy-metrics.ts';
import { HealthCheckPorts } from './health-check-ports.ts';
import type { Metrics } from './metrics-part.ts';
import { proxierSettings } from './proxier-settings.ts';
import { buildModes, carriedFamilies, nodeHasIpv6 } from './proxy-modes.ts';
import { serveProxyPorts } from './proxy-ports.ts';

export interface ProxyPartsInput {
  readonly config: Config;
  readonly nodeName: string;
  readonly node: () => Node | undefined;
  readonly onNodeChange: (wake: () => void) => Disposable;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** The proxiers of all families in the mode that works here, and what belongs to them. */
export interface ProxyParts {
  readonly proxier: DualProxier;
  readonly mode: ProxyMode;
  /** All but the proxier itself: ports, what other modes have left, the kernel's settings. Until the signal aborts. */
  run(signal: AbortSignal): Promise<void>;
}

/** Chooses the mode, which takes a few programs' time, and builds for it. */
export async function buildProxyParts(input: ProxyPartsInput): Promise<ProxyParts> {
  const { config, metrics, log, nodeName } = input;
  const { proxy } = config;
  const modes = buildModes({ ipvs: proxy.ipvs, exec: hostExec, clock, log });
  const modeSwitch = new ModeSwitch({ modes, clock, log });
  const { mode } = await modeSwitch.choose(proxy.mode, config.keelson.services.fallbackModes, input.signal);
  const families = await carriedFamilies(mode, { exec: hostExec, log }, input.signal);
  if (proxy.bindAddress.includes(':') && !families.includes('IPv6')) {
    const hint = 'set bindAddress of the KubeProxyConfiguration to an address of IPv4, or give the node IPv6';
    log.warn(
      { bindAddress: proxy.bindAddress, hint },
      'Services of IPv4 alone are carried, and bindAddress is of IPv6',
    );
  }
  const settings = proxierSettings(mode, proxy);
  const healths = new Map(families.map((family) => [family, new ProxyHealth(clock, 2 * settings.syncPeriodMs)]));
  const health = joinHealths([...healths.values()]);
  const common = {
    ...{ exec: hostExec, clock, log, nodeName, ...settings },
    metrics: { ...metrics.services, failures: syncFailures(metrics.proxy, mode) },
    complaints: new Complaints(log),
    healthChecksChanged: () => ports.update(),
  };
  const counted: BackendMetrics = {
    conntrack: metrics.services.conntrack,
    iptables: mode === 'iptables' ? iptablesMetrics(metrics.proxy) : undefined,
  };
  const proxiers = [...healths].map(
    ([family, own]) => new Proxier({ ...common, family, health: own, backend: modes[mode].backend(family, counted) }),
  );
  const proxier = new DualProxier(...proxiers);
  const hasIpv6 = await nodeHasIpv6();
  const { bindAddress, nodePortAddresses } = proxy;
  const ports: HealthCheckPorts = new HealthCheckPorts({
    proxier: () => proxier,
    places: () => ({ nodePortAddresses, bindAddress, hasIpv6, node: input.node(), interfaces: networkInterfaces() }),
    ...{ health, log },
  });
  pendingChanges(metrics.proxy, () => proxier.pending);
  noLocalEndpoints(metrics.proxy, () => proxier.noLocalEndpoints());
  const carried = Promise.all(proxiers.map((one) => one.synced));
  const run = async (signal: AbortSignal) => {
    const nodeChanged = () => {
      proxier.onNodeChange(input.node());
      ports.update();
    };
    using _node = input.onNodeChange(nodeChanged);
    nodeChanged();
    await Promise.all([
      ports.run(signal),
      serveProxyPorts({ ...input, mode, hasIpv6, health }, signal),
      modeSwitch.watchConflicts(signal),
      tidyUp(carried, () => modeSwitch.removeOthers(mode, signal), signal),
      setConntrack(config, carried, log, signal),
    ]);
  };
  return { proxier, mode, run };
}

function joinHealths(all: readonly ProxyHealth[]): Pick<ProxyHealth, 'healthy' | 'updatedAt'> {
  return {
    get healthy() {
      return all.every((one) => one.healthy);
    },
    get updatedAt() {
      return Math.max(...all.map((one) => one.updatedAt));
    },
  };
}

/** Not before the mode carries everything: a packet would meet no rule. */
async function tidyUp(carried: Promise<unknown>, tidy: () => Promise<void>, signal: AbortSignal): Promise<void> {
  await orAborted(carried, signal);
  if (!signal.aborted) await tidy();
}

/**
 * Where the kernel tracks no connections yet, its settings come with the first rules. The table is the whole host's, so
 * its processors count, whatever part of them this process may use.
 */
async function setConntrack(config: Config, carried: Promise<unknown>, log: Log, signal: AbortSignal): Promise<void> {
  const isThere = existsSync('/proc/sys/net/netfilter/nf_conntrack_max');
  if (!isThere) {
    await orAborted(carried, signal);
    if (signal.aborted) return;
  }
  await applyConntrackSettings(computeConntrackSettings(config.proxy.conntrack, cpus().length), { log });
}
