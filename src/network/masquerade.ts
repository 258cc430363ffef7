import { createHash } from 'node:crypto';

export interface MasqueradeSettings {
  readonly bridgeName: string;
  readonly podCidrs: readonly string[];
  /** Addresses that see pods under their own address: other nodes' pods. */
  readonly clusterCidrs: readonly string[];
  /**
   * Frames between two ports of the bridge pass the packet filter (br_netfilter). Where they do not, the answer of a
   * Service's endpoint to a pod on the same bridge would go straight to it, past the translation.
   */
  readonly bridgeIsFiltered: boolean;
}

export interface MasqueradeTable {
  readonly family: 'ip' | 'ip6';
  readonly name: string;
  /** In the comment of each rule: says that the rule is as this keelson would write it. */
  readonly tag: string;
  readonly rules: readonly string[];
  /** Puts the table in place of whatever has its name, in one transaction. */
  readonly script: string;
}

export const masqueradeTableName = 'keelson-pods';
const chain = 'postrouting';

/** One table for each address family of the pod network: what leaves it gets the node's address. */
export function generateMasquerade(settings: MasqueradeSettings): readonly MasqueradeTable[] {
  return (['ip', 'ip6'] as const).flatMap((family): MasqueradeTable[] => {
    const ours = ofFamily(settings.podCidrs, family);
    if (ours.length === 0) return [];
    const pods = `{ ${ours.join(', ')} }`;
    const multicast = family === 'ip' ? '224.0.0.0/4' : 'ff00::/8';
    const inside = [...new Set([...ours, ...ofFamily(settings.clusterCidrs, family)])];
    // One match for each range: they may overlap, which an anonymous set of ranges does not allow.
    const outside = [...inside, multicast].map((range) => `${family} daddr != ${range}`).join(' ');
    const toBridge = `oifname "${settings.bridgeName}" ${family} saddr ${pods} ${family} daddr ${pods}`;
    // What IPVS translates has no such status, but was sent to an address that is no pod's.
    const translated = ['ct status dnat', `ct original ${family} daddr != ${pods}`];
    const rules = [
      `${family} saddr ${pods} ${outside} fib daddr type != local masquerade fully-random`,
      ...(settings.bridgeIsFiltered ? [] : translated.map((match) => `${match} ${toBridge} masquerade fully-random`)),
    ];
    const where = `${family} ${masqueradeTableName}`;
    const tag = `keelson ${createHash('sha256').update(rules.join('\n')).digest('hex').slice(0, 12)}`;
    const lines = [
      `add table ${where}`,
      `delete table ${where}`,
      `add table ${where}`,
      `add chain ${where} ${chain} { type nat hook postrouting priority 100; policy accept; }`,
      ...rules.map((rule) => `add rule ${where} ${chain} ${rule} comment "${tag}"`),
    ];
    return [{ family, name: masqueradeTableName, tag, rules, script: `${lines.join('\n')}\n` }];
  });
}

/** Whether the output of `nft -j list table` shows the table as wanted. */
export function isInPlace(json: string, wanted: MasqueradeTable): boolean {
  const items = (JSON.parse(json) as { nftables?: readonly NftItem[] }).nftables ?? [];
  const rules = items.flatMap((item) => (item.rule ? [item.rule] : []));
  const hooks = items.flatMap((item) => (item.chain?.hook ? [item.chain.hook] : []));
  return (
    hooks.join() === 'postrouting' &&
    rules.length === wanted.rules.length &&
    rules.every((rule) => rule.comment === wanted.tag)
  );
}

interface NftItem {
  readonly rule?: { readonly comment?: string };
  readonly chain?: { readonly hook?: string };
}

const ofFamily = (cidrs: readonly string[], family: 'ip' | 'ip6'): readonly string[] =>
  cidrs.filter((cidr) => cidr.includes(':') === (family === 'ip6'));
