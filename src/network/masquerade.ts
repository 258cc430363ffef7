/** Which traffic of pods needs the node's address, because nobody out there knows theirs. */
export interface MasqueradePlan {
  /** This node's pods. */
  readonly podCidrs: readonly string[];
  /** What knows pod addresses without translation: all pods of the cluster, or this node's alone where that is not known. */
  readonly clusterCidrs: readonly string[];
}

export const masqueradeTable = 'keelson-pods';

const families = [
  { family: 'ip', isMember: (cidr: string) => !cidr.includes(':') },
  { family: 'ip6', isMember: (cidr: string) => cidr.includes(':') },
] as const;

/**
 * The whole table as one nft transaction, the same whether it exists or not. Replacing it loses no
 * flow: translations that are established live in conntrack.
 */
export function compileMasquerade(plan: MasqueradePlan): string {
  return families
    .map(({ family, isMember }) => {
      const sources = plan.podCidrs.filter(isMember);
      const known = [...new Set([...plan.clusterCidrs, ...plan.podCidrs])].filter(isMember);
      const table = `${family} ${masqueradeTable}`;
      if (sources.length === 0) return `add table ${table}\ndelete table ${table}\n`;
      return `add table ${table}
delete table ${table}
table ${table} {
  comment "keelson: pods leaving the pod network take the node's address";
  chain postrouting {
    type nat hook postrouting priority srcnat;
    ${family} saddr { ${sources.join(', ')} } ${family} daddr != { ${known.join(', ')} } fib daddr type != local masquerade
  }
}
`;
    })
    .join('');
}
