/** What keelson's own CNI configuration depends on. */
export interface CniSettings {
  readonly bridgeName: string;
  /** One for each address family: `10.244.3.0/24`. */
  readonly podCidrs: readonly string[];
  readonly mtu: number;
  /** Where host-local keeps its leases; absent: its own default. */
  readonly ipamDataDir?: string;
}

export const cniFileName = '10-keelson.conflist';

/**
 * Text of the configuration for the reference plugins bridge, host-local and portmap. Version 1.0.0 of the format is
 * understood by the plugins since 1.0 and by containerd since 1.6. The plugin's own masquerading is off: it would need
 * iptables rules for each pod, where one nftables rule does for all of them.
 */
export function generateCniConfig(settings: CniSettings): string {
  const { bridgeName, podCidrs, mtu, ipamDataDir } = settings;
  const config = {
    cniVersion: '1.0.0',
    name: 'keelson',
    plugins: [
      {
        type: 'bridge',
        bridge: bridgeName,
        isGateway: true,
        ipMasq: false,
        // A pod that reaches itself through a Service sends out of the port that it comes back in at.
        hairpinMode: true,
        mtu,
        ipam: {
          type: 'host-local',
          ranges: podCidrs.map((subnet) => [{ subnet }]),
          routes: podCidrs.map((cidr) => ({ dst: cidr.includes(':') ? '::/0' : '0.0.0.0/0' })),
          ...(ipamDataDir === undefined ? {} : { dataDir: ipamDataDir }),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    ],
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

export type CniDecision =
  | { readonly action: 'write'; readonly reason: 'missing' | 'changed' }
  | { readonly action: 'keep' }
  /** `file` is what the runtime will use instead of ours. */
  | { readonly action: 'leave'; readonly file: string };

/**
 * What to do about the CNI folder. Runtimes take the first configuration by name, so: a foreign one alone is left
 * alone, one that sorts before ours wins and ours stays as it is, one that sorts after ours changes nothing.
 * `present` is the text of our file, undefined when there is none.
 */
export function decideCni(fileNames: readonly string[], present: string | undefined, wanted: string): CniDecision {
  const foreign = fileNames.filter((name) => name !== cniFileName && /\.(conf|conflist|json)$/.test(name)).sort()[0];
  if (foreign !== undefined && (present === undefined || foreign < cniFileName)) {
    return { action: 'leave', file: foreign };
  }
  if (present === undefined) return { action: 'write', reason: 'missing' };
  return present === wanted ? { action: 'keep' } : { action: 'write', reason: 'changed' };
}
