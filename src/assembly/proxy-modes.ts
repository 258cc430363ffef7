import { readFile } from 'node:fs/promises';
import type { KubeProxyConfiguration } from '../config/kinds.ts';
import type { Exec } from '../host/exec.ts';
import { readIfExists } from '../host/files.ts';
import { followProgram } from '../host/follow-program.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { Backend, ProxyMode, Remains } from '../proxy/backend.ts';
import { hasIpv6 } from '../proxy/choose-mode.ts';
import { IptablesBackend } from '../proxy/iptables/iptables-backend.ts';
import { iptablesUnusable } from '../proxy/iptables/iptables-check.ts';
import { IptablesRemains } from '../proxy/iptables/iptables-remains.ts';
import { IpvsBackend } from '../proxy/ipvs/ipvs-backend.ts';
import { ipvsUnusable } from '../proxy/ipvs/ipvs-check.ts';
import { IpvsRemains } from '../proxy/ipvs/ipvs-remains.ts';
import type { ModePart } from '../proxy/mode-switch.ts';
import { NftBackend } from '../proxy/nftables/nft-backend.ts';
import { nftUnusable } from '../proxy/nftables/nft-check.ts';
import { NftRemains } from '../proxy/nftables/nft-remains.ts';
import { RulesetWatch } from '../proxy/nftables/ruleset-watch.ts';
import type { BackendMetrics } from '../proxy/proxy-metrics.ts';
import type { IpFamily } from '../proxy/read-service.ts';
import { UserspaceBackend } from '../proxy/userspace/userspace-backend.ts';
import { userspaceUnusable } from '../proxy/userspace/userspace-check.ts';
import { UserspaceRemains } from '../proxy/userspace/userspace-remains.ts';

/** All of one mode. */
export interface BuiltMode extends ModePart {
  backend(family: IpFamily, metrics?: BackendMetrics): Backend;
}

export interface ModesInput {
  readonly ipvs: KubeProxyConfiguration['ipvs'];
  readonly exec: Pick<Exec, 'run'>;
  readonly clock: Clock;
  readonly log: Log;
}

/** What upstream takes where `ipvs.scheduler` says nothing: round robin. */
const defaultScheduler = 'rr';

/** What each mode may have left on this host. */
export function buildRemains(exec: Pick<Exec, 'run'>): Readonly<Record<ProxyMode, Remains>> {
  return {
    nftables: new NftRemains({ exec }),
    iptables: new IptablesRemains({ exec }),
    ipvs: new IpvsRemains({ exec }),
    userspace: new UserspaceRemains({ exec }),
  };
}

/** Every mode that there is; making one touches nothing. */
export function buildModes({ ipvs, ...common }: ModesInput): Readonly<Record<ProxyMode, BuiltMode>> {
  const { exec, clock, log } = common;
  const remains = buildRemains(exec);
  const settings = {
    scheduler: ipvs.scheduler || defaultScheduler,
    excludeCIDRs: ipvs.excludeCIDRs,
    strictARP: ipvs.strictARP,
    tcpTimeoutMs: ipvs.tcpTimeout,
    tcpFinTimeoutMs: ipvs.tcpFinTimeout,
    udpTimeoutMs: ipvs.udpTimeout,
  };
  const watch = new RulesetWatch({ follow: followProgram, clock, log });
  return {
    nftables: {
      unusable: nftUnusable(exec),
      remains: remains.nftables,
      backend: () => new NftBackend({ exec, log, watch }),
    },
    iptables: {
      unusable: iptablesUnusable(exec),
      remains: remains.iptables,
      backend: (family, metrics) => new IptablesBackend({ ...common, family, metrics: metrics?.iptables }),
    },
    ipvs: {
      unusable: ipvsUnusable(exec, settings),
      remains: remains.ipvs,
      backend: (family) => new IpvsBackend({ ...common, family, settings }),
    },
    userspace: {
      unusable: userspaceUnusable(exec),
      remains: remains.userspace,
      backend: (family, metrics) => new UserspaceBackend({ ...common, family, metrics: metrics?.conntrack }),
    },
  };
}

/** Whether this node has IPv6; a node without is not tried. */
export async function nodeHasIpv6(procDir = '/proc'): Promise<boolean> {
  const disableIpv6 = await readFile(`${procDir}/sys/net/ipv6/conf/all/disable_ipv6`, 'utf8').catch(() => undefined);
  return hasIpv6({ inet6Addresses: await readIfExists(`${procDir}/net/if_inet6`), disableIpv6 });
}

/**
 * The address families that the mode carries here. All modes but nftables need a program of its own for IPv6, and a
 * kernel with its tables: where those are missing IPv4 is carried alone, which is said.
 */
export async function carriedFamilies(
  mode: ProxyMode,
  { exec, log, procDir }: { readonly exec: Pick<Exec, 'run'>; readonly log: Log; readonly procDir?: string },
  signal: AbortSignal,
): Promise<readonly IpFamily[]> {
  if (!(await nodeHasIpv6(procDir))) return ['IPv4'];
  if (mode === 'nftables') return ['IPv4', 'IPv6'];
  try {
    await exec.run('ip6tables-save', ['-t', 'nat'], { signal, timeoutMs: 10_000, maxOutputBytes: 512 * 1024 * 1024 });
    return ['IPv4', 'IPv6'];
  } catch (error) {
    signal.throwIfAborted();
    const hint = 'install ip6tables and load its tables (modprobe ip6table_nat), or use the mode nftables';
    log.warn({ mode, hint, ...errorFields(error) }, 'Services of IPv6 are not carried: ip6tables cannot be used');
    return ['IPv4'];
  }
}
