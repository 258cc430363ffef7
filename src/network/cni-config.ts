/** What the pod network of one node is made of. */
export interface PodNetworkPlan {
  /** One block per address family, at most two. */
  readonly podCidrs: readonly string[];
  readonly bridgeName: string;
  /** Of the pods' interfaces; 0 leaves it to the kernel. */
  readonly mtu: number;
}

/** Sorts after what an administrator numbers lower: a configuration of theirs simply wins. */
export const cniFileName = '10-keelson.conflist';
export const cniNetworkName = 'keelson';

/**
 * The CNI configuration for the plugins that every distribution has: bridge, host-local, portmap.
 * Masquerading is not left to the bridge plugin, which would need one iptables rule per pod.
 */
export function generateCniConfig({ podCidrs, bridgeName, mtu }: PodNetworkPlan): string {
  const config = {
    cniVersion: '0.4.0',
    name: cniNetworkName,
    plugins: [
      {
        type: 'bridge',
        bridge: bridgeName,
        isGateway: true,
        ipMasq: false,
        hairpinMode: true,
        ...(mtu > 0 ? { mtu } : {}),
        ipam: {
          type: 'host-local',
          ranges: podCidrs.map((subnet) => [{ subnet }]),
          routes: podCidrs.map((cidr) => ({ dst: cidr.includes(':') ? '::/0' : '0.0.0.0/0' })),
        },
      },
      { type: 'portmap', capabilities: { portMappings: true } },
    ],
  };
  return `${JSON.stringify(config, null, 2)}\n`;
}

export type CniDecision =
  | { readonly action: 'write'; readonly file: string; readonly text: string }
  /** Ours is there and right, or somebody else's is. */
  | { readonly action: 'none'; readonly foreign: string | undefined };

/**
 * Whether a configuration has to be written. Files that the runtime would read count, in its order;
 * a foreign one is left alone, and then ours is not written beside it.
 */
export function decideCni(plan: PodNetworkPlan, files: readonly string[], ours: string | undefined): CniDecision {
  const foreign = files.filter((f) => /\.(conf|conflist|json)$/.test(f) && f !== cniFileName).sort()[0];
  if (foreign !== undefined && ours === undefined) return { action: 'none', foreign };
  const text = generateCniConfig(plan);
  return text === ours ? { action: 'none', foreign } : { action: 'write', file: cniFileName, text };
}
