import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Exec } from '../host/exec.ts';
import { atomicWrite, readIfExists } from '../host/files.ts';
import { errnoOf, errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { cniFileName, decideCni, type PodNetworkPlan } from './cni-config.ts';
import { compileMasquerade } from './masquerade.ts';

export interface PodNetworkOptions {
  readonly cniConfDir: string;
  readonly bridgeName: string;
  readonly mtu: number;
  /** The pods of the whole cluster; empty where nobody said. */
  readonly clusterCidrs: readonly string[];
  readonly exec: Exec;
  readonly log: Log;
}

/**
 * Without forwarding no pod reaches anything. Bridged packets have to pass the firewall, or the answer
 * of a Service's endpoint on the same bridge never meets the translation that it belongs to; where the
 * br_netfilter module is not loaded these two files do not exist, and the Service rules masquerade instead.
 */
const sysctls: Readonly<Record<string, string>> = {
  '/proc/sys/net/ipv4/ip_forward': '1',
  '/proc/sys/net/ipv6/conf/all/forwarding': '1',
  '/proc/sys/net/bridge/bridge-nf-call-iptables': '1',
  '/proc/sys/net/bridge/bridge-nf-call-ip6tables': '1',
};
const timeoutMs = 10_000;

/** Owns the CNI configuration and the masquerading of the pod network that keelson makes where nobody else did. */
export class PodNetwork {
  readonly #o: PodNetworkOptions;
  #saidForeign = false;

  constructor(options: PodNetworkOptions) {
    this.#o = options;
  }

  /**
   * Makes the network for these pod CIDRs, or leaves it alone where somebody else's configuration is
   * found. Idempotent; called again whenever the node's CIDRs change.
   */
  async ensure(podCidrs: readonly string[], signal: AbortSignal): Promise<void> {
    if (podCidrs.length === 0) return;
    const { cniConfDir, bridgeName, mtu, clusterCidrs, exec, log } = this.#o;
    const plan: PodNetworkPlan = { podCidrs, bridgeName, mtu };
    await mkdir(cniConfDir, { recursive: true, mode: 0o755 });
    const decision = decideCni(plan, await readdir(cniConfDir), await readIfExists(join(cniConfDir, cniFileName)));
    if (decision.action === 'none' && decision.foreign !== undefined) {
      if (!this.#saidForeign)
        log.info({ file: join(cniConfDir, decision.foreign) }, 'pod network is configured by somebody else');
      this.#saidForeign = true;
      return;
    }
    await this.#setSysctls(podCidrs);
    const input = compileMasquerade({ podCidrs, clusterCidrs });
    await exec.run('nft', ['-f', '-'], { signal, timeoutMs, input });
    if (decision.action === 'write') {
      await atomicWrite(join(cniConfDir, decision.file), decision.text, { mode: 0o644 });
      log.info({ file: join(cniConfDir, decision.file), podCidrs }, 'pod network configured');
    }
  }

  async #setSysctls(podCidrs: readonly string[]): Promise<void> {
    const ipv6 = podCidrs.some((cidr) => cidr.includes(':'));
    for (const [file, value] of Object.entries(sysctls)) {
      if (!ipv6 && file.includes('ipv6')) continue;
      try {
        if ((await readFile(file, 'utf8')).trim() !== value) await writeFile(file, value);
      } catch (error) {
        if (isAbort(error)) throw error;
        // Absent: the kernel has no such feature. Read-only (a container, a hardened host): someone else must set it.
        if (errnoOf(error) === 'ENOENT') continue;
        const hint = `set it where the host is configured: sysctl -w ${file.slice('/proc/sys/'.length).replaceAll('/', '.')}=${value}`;
        this.#o.log.warn({ file, value, ...errorFields(error), hint }, 'cannot set a kernel parameter that pods need');
      }
    }
  }
}
