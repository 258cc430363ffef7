import { readFile } from 'node:fs/promises';
import type { Pod } from '../api/core-v1.ts';
import type { DNSConfig } from '../api/cri.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';
import { checkHostLimits, type DnsWarning, generateDnsConfig, parseResolvConf, type ResolvConf } from './dns-config.ts';

export interface NodeDnsOptions {
  /** The host's file; '' turns name resolution off. */
  readonly resolvConf: string;
  readonly clusterDNS: readonly string[];
  readonly clusterDomain: string;
  readonly nodeIPs: () => readonly string[];
  /** Tells who runs the node. */
  readonly warnNode: (warning: DnsWarning) => void;
}

/** The resolv.conf of pods, from the configuration and from the host's file as it is at that moment. */
export class NodeDns {
  readonly #o: NodeDnsOptions;
  /** The host's file as it was looked at last. */
  #checked: string | undefined;

  constructor(options: NodeDnsOptions) {
    this.#o = options;
  }

  /** Fails when the host's file cannot be read: a pod that resolves nothing is worse than one that waits. */
  async forPod(pod: Pod): Promise<{ readonly config: DNSConfig; readonly warnings: readonly DnsWarning[] }> {
    const { clusterDNS, clusterDomain, nodeIPs } = this.#o;
    const host = await this.#readHost();
    return generateDnsConfig(pod, { clusterDNS, clusterDomain, host, nodeIPs: nodeIPs() });
  }

  /** Says at start what is wrong with the host's file, before a pod has to. */
  async check(): Promise<void> {
    try {
      await this.#readHost();
    } catch (error) {
      if (!(error instanceof AgentError)) throw error;
      this.#o.warnNode({ about: 'node', reason: 'CheckLimitsForResolvConf', message: error.message });
    }
  }

  async #readHost(): Promise<ResolvConf | undefined> {
    const { resolvConf, clusterDomain, warnNode } = this.#o;
    if (resolvConf === '') return undefined;
    const text = await readFile(resolvConf, 'utf8').catch((cause: unknown) => {
      const why = errnoOf(cause) === 'ENOENT' ? 'no such file or directory' : (errnoOf(cause) ?? 'unreadable');
      throw new AgentError('NoResolvConf', `open ${resolvConf}: ${why}`, {
        hint: 'set resolvConf to a file of this host, or to "" for pods that resolve no names',
        retryable: true,
      });
    });
    const host = parseResolvConf(text);
    if (text !== this.#checked) {
      this.#checked = text;
      const warning = checkHostLimits(host, resolvConf, clusterDomain);
      if (warning) warnNode(warning);
    }
    return host;
  }
}
